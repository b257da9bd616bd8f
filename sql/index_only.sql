-- Index-only scans: values come from the rows that the scan has read, whatever the entries say.
SET client_min_messages = warning; SET max_parallel_workers_per_gather = 0;
CREATE SCHEMA only_index;
SET search_path = only_index, public;
-- Asks a query through the index, the plan naming an index-only scan of it, and through the heap.
CREATE FUNCTION same(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE by_index text; by_heap text; line text; scans int := 0; all_rows text := format('SELECT array_agg(r::text)::text FROM (%s) r', query);
BEGIN
    SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_incremental_sort = off; SET LOCAL enable_bitmapscan = off;
    SET LOCAL enable_indexonlyscan = on;
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP scans := scans + (line ~ 'Index Only Scan.* using \w+_top')::int; END LOOP;
    EXECUTE all_rows INTO by_index;
    SET LOCAL enable_seqscan = on; SET LOCAL enable_sort = on; SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off;
    EXECUTE all_rows INTO by_heap;
    SET LOCAL enable_indexscan = on;
    IF by_index IS NOT DISTINCT FROM by_heap THEN RETURN format('equal, index-only scans: %s, %s bytes', scans, length(by_heap)); END IF;
    RETURN format(E'index %s\nheap  %s', by_index, by_heap);
END $$;

CREATE TABLE plays (hour int, video_id text COLLATE "C", views bigint, note text, PRIMARY KEY (hour, video_id)) WITH (fillfactor = 70, autovacuum_enabled = off);
INSERT INTO plays SELECT n % 2, 'v' || n, n * 7919 % 10007, 'note' FROM generate_series(1, 8000) n;
CREATE INDEX plays_top ON plays USING topk (hour, views DESC, video_id) WITH (k = 100);
VACUUM ANALYZE plays;
EXPLAIN (COSTS OFF) SELECT video_id, views FROM plays WHERE hour = 1 ORDER BY views DESC, video_id LIMIT 100;
EXPLAIN (COSTS OFF) SELECT video_id, note FROM plays WHERE hour = 1 ORDER BY views DESC, video_id LIMIT 100;
EXPLAIN (COSTS OFF) SELECT count(*) FROM plays WHERE hour = 1;
EXPLAIN (COSTS OFF) SELECT video_id FROM plays WHERE hour = 1;
-- Nothing is read twice where pages are all-visible
CREATE FUNCTION heap_fetches(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || query LOOP
        IF line ~ 'Heap Fetches' THEN RETURN NEXT trim(line); END IF;
    END LOOP;
END $$;
SELECT heap_fetches('SELECT video_id, views FROM plays WHERE hour = 1 ORDER BY views DESC, video_id LIMIT 10');
SELECT heap_fetches('SELECT video_id, views FROM plays WHERE hour = 1 ORDER BY views DESC, video_id LIMIT 100');
SELECT video_id, views, hour FROM plays WHERE hour = 1 ORDER BY views DESC, video_id LIMIT 3;
-- Candidates, into the fallback, beyond its first pass; the fallback alone
SELECT l, same(format('SELECT views, video_id, hour FROM plays WHERE hour = 1 ORDER BY views DESC, video_id LIMIT %s', l)) FROM unnest('{1,16,17,112,113,500,2000,4000}'::int[]) l;
SELECT same('SELECT hour, views FROM plays ORDER BY hour, views DESC, video_id LIMIT 5000');
SELECT same('SELECT hour, video_id FROM plays WHERE hour = 1 ORDER BY views, video_id DESC LIMIT 500');
SELECT same('SELECT hour, video_id FROM plays WHERE hour = 1 AND views < 5000 AND video_id > ''v3'' ORDER BY views DESC, video_id LIMIT 20');

-- Rows changed since pages were all-visible, and the list of before, which an open cursor still reads
BEGIN;
SET LOCAL enable_sort = off;
DECLARE before NO SCROLL CURSOR FOR SELECT video_id, views FROM plays WHERE hour = 1 ORDER BY views DESC, video_id;
FETCH 1 FROM before;
UPDATE plays SET views = views + 100000 WHERE hour = 1 AND views BETWEEN 9900 AND 9950;
UPDATE plays SET views = 0 WHERE hour = 1 AND views BETWEEN 9990 AND 10010;
DELETE FROM plays WHERE hour = 1 AND views BETWEEN 9980 AND 9989;
SELECT same('SELECT video_id, views FROM plays WHERE hour = 1 ORDER BY views DESC, video_id LIMIT 100');
FETCH 2 FROM before;
MOVE 3996 FROM before;
FETCH ALL FROM before;
SAVEPOINT s;
UPDATE plays SET views = 200000 WHERE hour = 0;
SELECT same('SELECT video_id, views FROM plays WHERE hour = 0 ORDER BY views DESC, video_id LIMIT 100');
ROLLBACK TO s;
SELECT same('SELECT video_id, views FROM plays WHERE hour = 0 ORDER BY views DESC, video_id LIMIT 100');
COMMIT;
SELECT same('SELECT video_id, views FROM plays WHERE hour = 1 ORDER BY views DESC, video_id LIMIT 100');
VACUUM plays;
SELECT same('SELECT video_id, views FROM plays WHERE hour = 1 ORDER BY views DESC, video_id LIMIT 100');
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT same('SELECT video_id, views FROM plays WHERE hour = 1 ORDER BY views DESC, video_id LIMIT 100');
COMMIT;

-- Writing through a cursor: FOR UPDATE makes it a plain scan, which knows the versions behind redirects
CREATE TABLE written (g int, id int, score bigint) WITH (fillfactor = 40, autovacuum_enabled = off);
INSERT INTO written SELECT 1, n, n FROM generate_series(1, 500) n;
CREATE INDEX written_top ON written USING topk (g, score DESC, id) WITH (k = 10);
UPDATE written SET score = score + 1;
VACUUM ANALYZE written;
VACUUM written;
BEGIN;
SET LOCAL enable_sort = off; SET LOCAL enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT id, score FROM written WHERE g = 1 ORDER BY score DESC, id LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id, score FROM written WHERE g = 1 ORDER BY score DESC, id FOR UPDATE;
DECLARE best CURSOR FOR SELECT id, score FROM written WHERE g = 1 ORDER BY score DESC, id FOR UPDATE;
FETCH 2 FROM best;
UPDATE written SET score = 0 WHERE CURRENT OF best RETURNING *;
FETCH 1 FROM best;
DELETE FROM written WHERE CURRENT OF best RETURNING *;
SELECT same('SELECT id, score FROM written WHERE g = 1 ORDER BY score DESC, id');
COMMIT;

-- NULLs in every place
CREATE TABLE nulls (a int, b text, score int, x int, y name);
INSERT INTO nulls SELECT nullif(n % 3, 0), nullif(n % 2, 0), nullif(n % 7, 0), nullif(n % 5, 0), nullif(n % 11, 0) FROM generate_series(1, 700) n;
CREATE INDEX nulls_top ON nulls USING topk (a, b, score DESC, x, y DESC) WITH (k = 5);
VACUUM ANALYZE nulls;
SELECT q, same('SELECT a, b, score, x, y FROM nulls WHERE ' || q || ' ORDER BY a, b, score DESC, x, y DESC LIMIT 60')
FROM unnest('{a = 1 AND b = ''1'',a = 1 AND b IS NULL,a IS NULL AND b IS NULL,a IS NULL,true}'::text[]) q;

-- Values longer than an entry keeps, and than a page holds; types of any width; a column added later
CREATE TABLE long (g varchar(8), score numeric, id text COLLATE "C", c "char", f float8, b bytea);
INSERT INTO long SELECT n % 2, n % 20 + 0.50, repeat(chr(97 + n % 26), n * 50) || n, chr(65 + n % 26), -n, decode(repeat('00ff', n * 10), 'hex') FROM generate_series(1, 100) n;
INSERT INTO long SELECT '1', 1000, string_agg(md5(n::text), ''), 'Z', 'NaN', '' FROM generate_series(1, 2000) n;
ALTER TABLE long ADD extra text DEFAULT 'added later';
CREATE INDEX long_top ON long USING topk (g, score DESC, id, c, f, b, extra) WITH (k = 10);
INSERT INTO long VALUES ('1', NULL, repeat('z', 100000), NULL, NULL, NULL, NULL);
VACUUM ANALYZE long;
SELECT same('SELECT * FROM long WHERE g = ''1'' ORDER BY score DESC, id, c, f, b, extra');
SELECT same('SELECT * FROM long ORDER BY g, score DESC, id, c, f, b, extra');

-- Equal is not the same: values of the group's column, too, are the row's own, also in the fallback
CREATE TABLE equals (g numeric, score float8, id int);
INSERT INTO equals SELECT ('1.' || repeat('0', n % 4))::numeric, n % 3 - 1, n FROM generate_series(1, 200) n;
UPDATE equals SET score = '-0' WHERE score = 0 AND id % 2 = 0;
CREATE INDEX equals_top ON equals USING topk (g, score DESC, id) WITH (k = 2);
VACUUM ANALYZE equals;
SELECT same('SELECT * FROM equals WHERE g = 1 ORDER BY score DESC, id');
SELECT same('SELECT * FROM equals WHERE g = 1 ORDER BY score DESC, id LIMIT 7');
SELECT same('SELECT * FROM equals ORDER BY g, score DESC, id');

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
SELECT blocks_to_plan('SELECT * FROM ends WHERE views > 25000');
SELECT blocks_to_plan('SELECT * FROM ends WHERE views < 2');
SELECT blocks_to_plan('SELECT * FROM ends a JOIN ends b USING (views) WHERE a.views > 19990 ORDER BY views');
SELECT blocks_to_plan('SELECT max(views), min(views) FROM ends');
CREATE INDEX ends_btree ON ends (views);
SELECT blocks_to_plan('SELECT * FROM ends WHERE views > 25000') > 0 AS by_btree;
SET client_min_messages = error; DROP SCHEMA only_index CASCADE;
