-- Upkeep of a topk index: what its functions show, refill by hand and by VACUUM, and what VACUUM leaves to later.
SET client_min_messages = warning;
CREATE SCHEMA upkeep;
SET search_path = upkeep, public;
-- True if the best rows by the index are those by the heap.
CREATE FUNCTION same(rows int) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE by_index text; by_heap text; query text := format('SELECT array_agg(r::text)::text FROM (SELECT * FROM games WHERE g = 1 ORDER BY s DESC, id LIMIT %s) r', rows);
BEGIN
    SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off;
    EXECUTE query INTO by_index;
    SET LOCAL enable_seqscan = on; SET LOCAL enable_sort = on; SET LOCAL enable_indexscan = off;
    EXECUTE query INTO by_heap;
    SET LOCAL enable_indexscan = on;
    RETURN by_index IS NOT DISTINCT FROM by_heap;
END $$;

-- A group of 30 000 rows keeps 4 * k candidates or a little more; small groups keep all of theirs.
CREATE TABLE games (g int, s bigint, id int, name text COLLATE "C") WITH (autovacuum_enabled = off);
INSERT INTO games SELECT 1, n % 10007, n FROM generate_series(1, 30000) n;
INSERT INTO games SELECT n % 50 + 2, n, n FROM generate_series(1, 500) n;
CREATE INDEX games_top ON games USING topk (g, s DESC, id) WITH (k = 500);
SELECT k, groups, paged_groups, candidates BETWEEN 2500 AND 12000 AS some_candidates, thresholds > 0 AS has_thresholds, histories,
    pages = bucket_pages + group_pages + directory_pages + free_pages AS all_pages, bytes = pages * current_setting('block_size')::int AS in_bytes FROM topk.index_stats('games_top');
SELECT group_hash <> 0 AS has_hash, pages > 1 AS several_pages, candidates > 2000 AS candidates, threshold::bigint BETWEEN 5000 AND 10006 AS threshold FROM topk.index_groups('games_top');
SELECT same(500), same(29999), topk.index_refill('games_top');

-- Without its best rows the group has too few above its threshold, until a refill
DELETE FROM games WHERE g = 1 AND s > 6000;
SELECT same(500), topk.index_refill('games_top'), topk.index_refill('games_top'), same(500);
SELECT threshold::bigint < 6000 AS lower FROM topk.index_groups('games_top');
UPDATE games SET s = s / 2 WHERE g = 1 AND s > 2000;
VACUUM games;
SELECT same(500), threshold::bigint < 3000 AS lower, topk.index_refill('games_top') FROM topk.index_groups('games_top');
SELECT topk.index_check('games_top');

-- What is left of the group fits a bucket again; its pages are used for others.
DELETE FROM games WHERE g = 1 AND id > 20;
VACUUM games;
VACUUM games;
SELECT groups, paged_groups, candidates, thresholds FROM topk.index_stats('games_top');
VACUUM games;
SELECT same(100) AS same, free_pages AS free FROM topk.index_stats('games_top') \gset before_
INSERT INTO games SELECT 1, n, 100000 + n FROM generate_series(1, 3000) n;
SELECT :'before_same' AS same, :before_free > 10 AS had_free, free_pages < 5 AS used_them, same(3000) FROM topk.index_stats('games_top');
TRUNCATE games;
SELECT groups, candidates, pages, same(10) FROM topk.index_stats('games_top');

-- More ties than a group can keep: no refill helps. VACUUM tries again after ever longer pauses, index_refill whenever it is asked.
DROP INDEX games_top;
CREATE INDEX games_top ON games USING topk (g, s DESC) WITH (k = 10);
INSERT INTO games SELECT 1, 7, n FROM generate_series(1, 5000) n;
INSERT INTO games SELECT 1, 5, n FROM generate_series(1, 5000) n;
SELECT threshold FROM topk.index_groups('games_top');
VACUUM games; VACUUM games; VACUUM games; VACUUM games; VACUUM games;
SELECT topk.index_refill('games_top'), topk.index_refill('games_top');
UPDATE games SET s = id WHERE s = 7;
SELECT topk.index_refill('games_top'), topk.index_refill('games_top'), topk.index_check('games_top');
SELECT array_agg(s) FROM (SELECT s FROM games WHERE g = 1 ORDER BY s DESC LIMIT 5) best;
-- Until one helps: then the group has no threshold any more.
TRUNCATE games;
INSERT INTO games SELECT 1, 7, n FROM generate_series(1, 5000) n;
SELECT topk.index_refill('games_top');
DELETE FROM games WHERE id > 30;
SELECT topk.index_refill('games_top') AS done, topk.index_refill('games_top') AS again;
SELECT threshold, candidates, topk.index_check('games_top') FROM topk.index_groups('games_top');
-- Many groups with pages of their own
INSERT INTO games SELECT 100 + n % 100, n, n FROM generate_series(1, 40000) n;
SELECT paged_groups, topk.index_refill('games_top'), topk.index_check('games_top') FROM topk.index_stats('games_top');
DROP INDEX games_top;
TRUNCATE games;

-- Best of all is a NULL score (DESC is NULLS FIRST): a threshold there is shown as infinity.
CREATE INDEX games_top ON games USING topk (g, s DESC) WITH (k = 10);
INSERT INTO games SELECT 1, NULL, n FROM generate_series(1, 5000) n;
SELECT threshold FROM topk.index_groups('games_top');
DROP INDEX games_top;
-- Where NULLs are the last, one is below everything.
CREATE INDEX games_top ON games USING topk (g, s DESC NULLS LAST) WITH (k = 10);
SELECT threshold FROM topk.index_groups('games_top');
DROP INDEX games_top;
TRUNCATE games;

-- Ids that live in a TOAST table: bounds leave them open. Dead ones may have lost theirs.
ALTER TABLE games ALTER name SET STORAGE external;
CREATE INDEX games_top ON games USING topk (g, s DESC, name) WITH (k = 10);
INSERT INTO games SELECT 1, n / 3, n, repeat(chr(65 + n), 3000) FROM generate_series(1, 20) n;
DELETE FROM games WHERE id % 5 = 0;
SELECT reltoastrelid::regclass AS toast FROM pg_class WHERE oid = 'games'::regclass \gset
VACUUM :toast;
SELECT topk.index_check('games_top');
REINDEX INDEX games_top;
UPDATE games SET s = s + 10, id = id + 100 WHERE id < 10;
SELECT topk.index_check('games_top');
SELECT id, s FROM games WHERE g = 1 ORDER BY s DESC, name LIMIT 9;
CREATE INDEX games_by_name ON games USING topk (name, s DESC) WITH (k = 10);
VACUUM :toast;
REINDEX INDEX games_by_name;
SELECT topk.index_check('games_by_name');
DROP INDEX games_by_name, games_top;
TRUNCATE games;

-- An index that CREATE INDEX CONCURRENTLY left behind outlives rows whose pages are gone; REINDEX makes it whole.
CREATE INDEX games_top ON games USING topk (g, s DESC, id) WITH (k = 10);
INSERT INTO games SELECT 1, n, n FROM generate_series(1, 4000) n;
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'games_top'::regclass;
DELETE FROM games WHERE id > 100;
VACUUM games;
INSERT INTO games SELECT 1, 5000 + n, 5000 + n FROM generate_series(1, 50) n;
INSERT INTO games SELECT 1, 9000 + n, 9000 + n FROM generate_series(1, 4000) n;
REINDEX INDEX games_top;
SELECT indisvalid, same(3000), topk.index_check('games_top') FROM pg_index WHERE indexrelid = 'games_top'::regclass;
DROP SCHEMA upkeep CASCADE;
