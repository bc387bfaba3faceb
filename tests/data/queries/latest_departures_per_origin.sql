WITH ranked AS (
    SELECT origin, time_hour, carrier, flight, dep_delay,
           rank() OVER (PARTITION BY origin ORDER BY dep_delay DESC) AS place
    FROM {flights}
    WHERE dep_delay IS NOT NULL
)
SELECT origin, place, time_hour, carrier, flight, dep_delay
FROM ranked
WHERE place <= 5
ORDER BY origin, place, time_hour, carrier, flight
