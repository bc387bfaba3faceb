SELECT f.origin, f.dest, a.name, count(*) AS n, sum(f.distance) AS distance, sum(f.dep_delay) AS delay,
       avg(w.temp) AS temp, max(w.wind_speed) AS wind, min(w.visib) AS visib, avg(a.lat) AS lat
FROM {flights} f
JOIN {weather} w ON w.origin = f.origin AND w.time_hour = f.time_hour
JOIN {airports} a ON a.faa = f.dest
GROUP BY f.origin, f.dest, a.name
ORDER BY f.origin, f.dest
