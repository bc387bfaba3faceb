SELECT f.carrier, count(*) AS n
FROM {flights} f
WHERE f.tailnum IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {planes} p WHERE p.tailnum = f.tailnum)
GROUP BY f.carrier
ORDER BY n DESC, f.carrier
