-- Highest level of each harbor in each year.
SELECT harbor, strftime('%Y', time) AS year, max(level) FROM levels GROUP BY harbor, year ORDER BY harbor, year;
