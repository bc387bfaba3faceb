SELECT c.carrier, c.name, count(*) AS n, sum(f.dep_delay) AS delay, avg(f.arr_delay) AS arr_delay,
       min(f.air_time) AS shortest, max(f.air_time) AS longest, stddev_samp(f.dep_delay) AS deviation
FROM {flights} f JOIN {airlines} c ON c.carrier = f.carrier
GROUP BY c.carrier, c.name
ORDER BY c.carrier
