SELECT dest, count(*) AS n, avg(dep_delay) AS delay
FROM {flights}
WHERE dep_delay > (SELECT avg(dep_delay) FROM {flights})
GROUP BY dest
HAVING count(*) > 1000
ORDER BY n DESC, dest
LIMIT 20
