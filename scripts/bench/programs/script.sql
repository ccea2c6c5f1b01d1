-- Orders and customers in memory: inserted, indexed, joined, grouped, updated.
CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, city INTEGER);
CREATE TABLE purchase (id INTEGER PRIMARY KEY, customer INTEGER, day INTEGER, cents INTEGER, note TEXT);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
INSERT INTO customer SELECT i, 'customer ' || ((i * 7919) % 2003), (i * 31) % 97 FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
INSERT INTO purchase SELECT i, 1 + (i * 7919) % 2000, (i * 13) % 365, (i * 104729) % 100000, 'note ' || (i * 17) % 1009 FROM n;
COMMIT;
CREATE INDEX purchase_customer ON purchase (customer);
CREATE INDEX purchase_day ON purchase (day, cents);
SELECT city, count(*), sum(cents) FROM purchase JOIN customer ON customer.id = purchase.customer GROUP BY city ORDER BY 3 DESC LIMIT 10;
SELECT day, max(cents), min(note) FROM purchase WHERE day BETWEEN 100 AND 200 GROUP BY day HAVING count(*) > 3 ORDER BY day LIMIT 10;
UPDATE purchase SET cents = cents + 1 WHERE customer IN (SELECT id FROM customer WHERE name LIKE '%7%');
DELETE FROM purchase WHERE day % 7 = 3;
SELECT count(*), sum(cents), avg(length(note)) FROM purchase;
SELECT name, total FROM (SELECT name, sum(cents) AS total FROM customer JOIN purchase ON purchase.customer = customer.id GROUP BY name)
ORDER BY total DESC, name LIMIT 5;
