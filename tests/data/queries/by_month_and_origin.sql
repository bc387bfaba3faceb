SELECT month, origin, count(*) AS n, count(*) FILTER (WHERE dep_time IS NULL) AS cancelled,
       sum(CASE WHEN arr_delay > 60 THEN 1 ELSE 0 END) AS late, max(distance) AS farthest
FROM {flights}
GROUP BY month, origin
HAVING count(*) > 100
ORDER BY month, origin
