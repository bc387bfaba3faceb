SELECT w.origin,
       avg(w.temp) FILTER (WHERE w.time_hour > m.t - INTERVAL '1 hour') AS avg_1h,
       avg(w.temp) FILTER (WHERE w.time_hour > m.t - INTERVAL '24 hours') AS avg_24h,
       avg(w.temp) FILTER (WHERE w.time_hour > m.t - INTERVAL '7 days') AS avg_7d,
       count(w.temp) FILTER (WHERE w.time_hour > m.t - INTERVAL '7 days') AS count_7d
FROM {weather} w CROSS JOIN (SELECT max(time_hour) AS t FROM {weather}) m
GROUP BY w.origin
ORDER BY w.origin
