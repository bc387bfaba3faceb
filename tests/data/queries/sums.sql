SELECT count(*) AS n, count(dep_delay) AS with_delay, sum(dep_delay) AS delay, sum(distance) AS distance,
       min(dep_delay) AS least, max(dep_delay) AS greatest, count(tailnum) AS tailnums,
       count(DISTINCT tailnum) AS planes
FROM {flights}
