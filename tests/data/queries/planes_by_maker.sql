SELECT p.manufacturer, count(*) AS n, count(DISTINCT p.tailnum) AS planes, avg(p.seats) AS seats,
       min(p.year) AS oldest, max(p.year) AS newest
FROM {flights} f JOIN {planes} p ON p.tailnum = f.tailnum
GROUP BY p.manufacturer
ORDER BY n DESC, p.manufacturer
