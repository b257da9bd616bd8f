-- Which queries the planner gives to the index: lists, and not what another index answers better.
CREATE TABLE plans (g int, id int, views bigint, pad text, PRIMARY KEY (g, id));
INSERT INTO plans SELECT n % 2, n, (n * 7919) % 10007, repeat('x', 100) FROM generate_series(1, 40000) n;
CREATE INDEX plans_top ON plans USING topk (g, views DESC, id) WITH (k = 100);
VACUUM ANALYZE plans;
EXPLAIN (COSTS OFF) SELECT id FROM plans WHERE g = 1 ORDER BY views DESC, id LIMIT 100;
EXPLAIN (COSTS OFF) SELECT id FROM plans WHERE g = 1 AND views < 5000 ORDER BY views DESC, id LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM plans WHERE g = 1 AND views > 9990 ORDER BY views DESC, id;
-- By the primary key: a row, a join, a foreign key's check
EXPLAIN (COSTS OFF) SELECT * FROM plans WHERE g = 1 AND id = 77;
EXPLAIN (COSTS OFF) UPDATE plans SET views = views + 1 WHERE g = 1 AND id = 77;
EXPLAIN (COSTS OFF) SELECT * FROM (VALUES (1), (3)) v (id) JOIN plans ON plans.g = 1 AND plans.id = v.id;
CREATE TABLE plans_of (g int, id int, FOREIGN KEY (g, id) REFERENCES plans);
BEGIN;
INSERT INTO plans_of SELECT 1, 1 + 2 * n FROM generate_series(0, 9) n;
SELECT pg_stat_get_xact_numscans('plans_top'::regclass), pg_stat_get_xact_numscans('plans_pkey'::regclass) > 0 AS by_primary_key;
COMMIT;
-- More rows than the index keeps
EXPLAIN (COSTS OFF) SELECT id FROM plans WHERE g = 1 ORDER BY views DESC, id;

-- A limit that does not end the scan: all rows are sorted by something else, or by a column of the other table
CREATE TABLE plans_many AS SELECT n % 200 AS g, n AS id, n % 10007 AS views FROM generate_series(1, 80000) n;
CREATE INDEX plans_many_top ON plans_many USING topk (g, views DESC, id) WITH (k = 100);
ANALYZE plans_many;
SET random_page_cost = 1.1;
EXPLAIN (COSTS OFF) SELECT id FROM plans_many WHERE g = 1 ORDER BY id LIMIT 10;
EXPLAIN (COSTS OFF) SELECT m.id FROM plans_many m JOIN plans p ON p.g = 1 AND p.id = m.id WHERE m.g = 1 ORDER BY p.pad LIMIT 10;
-- And one that does, with another column after the index's, or with a table beside it
EXPLAIN (COSTS OFF) SELECT id FROM plans_many WHERE g = 1 ORDER BY views DESC, id, g + 1 LIMIT 10;
EXPLAIN (COSTS OFF) SELECT m.id, p.pad FROM plans_many m JOIN plans p ON p.g = 1 AND p.id = m.id WHERE m.g = 1 ORDER BY m.views DESC, m.id LIMIT 10;
RESET random_page_cost;
DROP TABLE plans_many;
-- How many rows a join or groups read for the limit is known above the table: few come from the candidates, many would be sorted
CREATE TABLE plans_every_fourth (id int PRIMARY KEY);
INSERT INTO plans_every_fourth SELECT 4 * n + 1 FROM generate_series(0, 9999) n;
VACUUM ANALYZE plans_every_fourth;
EXPLAIN (COSTS OFF) SELECT id FROM plans JOIN plans_every_fourth USING (id) WHERE g = 1 ORDER BY views DESC, id LIMIT 5;
EXPLAIN (COSTS OFF) SELECT id FROM plans JOIN plans_every_fourth USING (id) WHERE g = 1 ORDER BY views DESC, id LIMIT 250;
EXPLAIN (COSTS OFF) SELECT views, count(*) FROM plans WHERE g = 1 GROUP BY views ORDER BY views DESC LIMIT 5;
EXPLAIN (COSTS OFF) SELECT views, count(*) FROM plans WHERE g = 1 GROUP BY views ORDER BY views DESC LIMIT 250;
SELECT views, count(*) FROM plans WHERE g = 1 GROUP BY views ORDER BY views DESC LIMIT 5;
-- A window reads them all
CREATE FUNCTION takes_index(query text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE line text; found boolean := false;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN ' || query LOOP found := found OR line ~ 'using plans_top'; END LOOP;
    RETURN found;
END $$;
SELECT takes_index('SELECT views, count(*) FROM plans WHERE g = 1 GROUP BY views ORDER BY views DESC LIMIT 5'),
    takes_index('SELECT views, sum(id) OVER () FROM plans WHERE g = 1 ORDER BY views DESC LIMIT 5');
DROP FUNCTION takes_index;
-- What others pay for the group by another index, however large the table
CREATE TABLE plans_groups (g int, id int, views bigint, PRIMARY KEY (g, id));
INSERT INTO plans_groups SELECT n / 4000, n, (n * 7919::bigint) % 10007 FROM generate_series(0, 399999) n;
CREATE INDEX plans_groups_top ON plans_groups USING topk (g, views DESC, id) WITH (k = 100);
VACUUM ANALYZE plans_groups;
EXPLAIN (COSTS OFF) SELECT o.id, p.pad FROM plans_groups o LEFT JOIN plans p ON p.g = 0 AND p.id = o.id WHERE o.g = 1 ORDER BY o.views DESC, o.id LIMIT 20;
EXPLAIN (COSTS OFF) SELECT views, count(*) FROM plans_groups WHERE g = 1 GROUP BY views ORDER BY views DESC LIMIT 20;
ALTER TABLE plans_groups DROP CONSTRAINT plans_groups_pkey;  -- now they pay for the table
CREATE INDEX ON plans_groups (g) WHERE id > 0;
EXPLAIN (COSTS OFF) SELECT views, count(*) FROM plans_groups WHERE g = 1 GROUP BY views ORDER BY views DESC LIMIT 20;
DROP INDEX plans_groups_top;
ALTER TABLE plans_groups ADD h int NOT NULL DEFAULT 0;
CREATE INDEX plans_groups_of_two_top ON plans_groups USING topk (h, g, views DESC, id) WITH (k = 100);
CREATE INDEX ON plans_groups (h);
ANALYZE plans_groups;
EXPLAIN (COSTS OFF) SELECT views, count(*) FROM plans_groups WHERE h = 0 AND g = 1 GROUP BY views ORDER BY views DESC LIMIT 20;
DROP TABLE plans_every_fourth, plans_groups;

-- In a parallel worker, with the leader's snapshot, of its own changes too
SELECT set_config(name, 'on', false) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');  -- until 15, and since
EXPLAIN (COSTS OFF) SELECT id, views FROM plans WHERE g = 1 ORDER BY views DESC, id LIMIT 3;
BEGIN;
UPDATE plans SET views = 20000 WHERE g = 1 AND id = 77;
DELETE FROM plans WHERE g = 1 AND views = 10006;
SELECT id, views FROM plans WHERE g = 1 ORDER BY views DESC, id LIMIT 3;
ROLLBACK;
SELECT id, views FROM plans WHERE g = 1 ORDER BY views DESC, id LIMIT 3;
SELECT set_config(name, 'off', false) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');

-- A query that needs no column may become an index-only scan of any access method
CREATE TABLE plans_wide (views int, pad text);
INSERT INTO plans_wide SELECT n, repeat('x', 1500) FROM generate_series(1, 300) n;
CREATE INDEX plans_wide_top ON plans_wide USING topk (views DESC);
VACUUM ANALYZE plans_wide;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT count(*) FROM plans_wide;
SELECT count(*) FROM plans_wide;
SELECT count(*) FROM (SELECT 1 FROM plans_wide LIMIT 20) limited;
DROP TABLE plans_of, plans, plans_wide;
RESET enable_seqscan;
RESET enable_bitmapscan;

-- The planner looks up the ends of a column in a btree; nobody reads the table for it through this index
CREATE TABLE ends (views int, padding text) WITH (autovacuum_enabled = off);
INSERT INTO ends SELECT n, repeat('x', 100) FROM generate_series(1, 20000) n;
CREATE INDEX ends_top ON ends USING topk (views DESC) WITH (k = 10);
CREATE INDEX ends_nulls_top ON ends USING topk (views DESC NULLS LAST) WITH (k = 10);
VACUUM ANALYZE ends;
INSERT INTO ends SELECT n, 'x' FROM generate_series(20001, 30000) n;
CREATE FUNCTION blocks_to_plan(query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE line text; before bigint := pg_stat_get_xact_blocks_fetched('ends'::regclass);
BEGIN
    FOR line IN EXECUTE 'EXPLAIN ' || query LOOP END LOOP;
    RETURN pg_stat_get_xact_blocks_fetched('ends'::regclass) - before;
END $$;
-- A page of the visibility map for each index: is what ranks first all-visible?
SELECT blocks_to_plan('SELECT * FROM ends WHERE views > 25000');
SELECT blocks_to_plan('SELECT * FROM ends WHERE views < 2');
SELECT blocks_to_plan('SELECT * FROM ends a JOIN ends b USING (views) WHERE a.views > 19990 ORDER BY views');
SELECT blocks_to_plan('SELECT max(views), min(views) FROM ends');
CREATE INDEX ends_btree ON ends (views);
SELECT blocks_to_plan('SELECT * FROM ends WHERE views > 25000') > 0 AS by_btree;
DROP FUNCTION blocks_to_plan;
DROP TABLE ends;
