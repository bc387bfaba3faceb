SELECT f.time_hour, f.carrier, f.flight, f.tailnum, f.origin, f.dest, f.dep_delay, w.temp, w.wind_dir,
       w.wind_gust, a.name, a.alt, a.tzone
FROM {flights} f
LEFT JOIN {weather} w ON w.origin = f.origin AND w.time_hour = f.time_hour
LEFT JOIN {airports} a ON a.faa = f.dest
WHERE f.month = 2 AND f.day = 9
ORDER BY f.time_hour, f.carrier, f.flight
