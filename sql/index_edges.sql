-- The topk index at its edges: every list through it must be the sort of the heap.
SET client_min_messages = warning; SET timezone = 'UTC'; SET datestyle = 'ISO';
SET max_parallel_workers_per_gather = 0;
-- Asks a query through the index and through the heap; how often the index was scanned comes from its plan.
CREATE FUNCTION t.rows_of(query text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE found text[];
BEGIN
    EXECUTE format('SELECT array_agg(r::text) FROM (%s) r', query) INTO found;
    RETURN coalesce(found, '{}');
END $$;
CREATE FUNCTION t.same(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE by_index text[]; by_heap text[]; line text; scans int := 0;
BEGIN
    PERFORM set_config(name, 'off', true) FROM unnest('{enable_seqscan,enable_sort,enable_incremental_sort,enable_bitmapscan}'::text[]) name;
    PERFORM set_config('enable_indexscan', 'on', true);
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP scans := scans + (line ~ 'Index (Only )?Scan.* using \w*(top|score_id_idx)')::int; END LOOP;
    by_index := t.rows_of(query);
    PERFORM set_config(name, 'on', true) FROM unnest('{enable_seqscan,enable_sort,enable_incremental_sort,enable_bitmapscan}'::text[]) name;
    PERFORM set_config(name, 'off', true) FROM unnest('{enable_indexscan,enable_bitmapscan}'::text[]) name;
    by_heap := t.rows_of(query);
    PERFORM set_config(name, 'on', true) FROM unnest('{enable_indexscan,enable_bitmapscan}'::text[]) name;
    IF by_index = by_heap THEN RETURN format('equal: %s rows, topk scans in the plan: %s', cardinality(by_heap), scans); END IF;
    RETURN format(E'index %s\nheap  %s', by_index, by_heap);
END $$;

-- The plans of the usual queries, as the planner likes them
CREATE TABLE plays (hour timestamptz, video_id text COLLATE "C", views bigint, PRIMARY KEY (hour, video_id)) WITH (fillfactor = 80, autovacuum_enabled = off);
INSERT INTO plays SELECT '2026-01-01Z'::timestamptz + n % 3 * interval '1 hour', 'vid_' || n, n * 7919 % 1009 FROM generate_series(1, 9000) n;
CREATE INDEX plays_top ON plays USING topk (hour, views DESC, video_id) WITH (k = 100);
VACUUM ANALYZE plays;
EXPLAIN (COSTS OFF) SELECT video_id, views FROM plays WHERE hour = '2026-01-01 01:00Z' ORDER BY views DESC, video_id LIMIT 100;
EXPLAIN (COSTS OFF) SELECT video_id, views FROM plays WHERE hour = '2026-01-01 01:00Z' ORDER BY views DESC LIMIT 10;
EXPLAIN (COSTS OFF) SELECT * FROM plays WHERE hour = '2026-01-01 01:00Z' AND views < 500 ORDER BY views DESC, video_id LIMIT 10;
SELECT t.same('SELECT max(views) FROM plays WHERE hour = ''2026-01-01 01:00Z''');
-- Not for everything: all rows, an equality on the whole key, an inequality of the group, another order
EXPLAIN (COSTS OFF) SELECT video_id, views FROM plays WHERE hour = '2026-01-01 01:00Z' ORDER BY views DESC, video_id;
EXPLAIN (COSTS OFF) SELECT * FROM plays WHERE hour = '2026-01-01 01:00Z' AND video_id = 'vid_10';
EXPLAIN (COSTS OFF) SELECT * FROM plays WHERE hour = '2026-01-01 01:00Z' ORDER BY views, video_id DESC LIMIT 10;
EXPLAIN (COSTS OFF) SELECT count(*) FROM plays WHERE hour >= '2026-01-01 01:00Z';
EXPLAIN (COSTS OFF) SELECT h, x.* FROM generate_series('2026-01-01Z'::timestamptz, '2026-01-01 02:00Z', '1 hour') h,
    LATERAL (SELECT video_id, views FROM plays WHERE hour = h ORDER BY views DESC, video_id LIMIT 5) x;
SELECT video_id, views FROM plays WHERE hour = '2026-01-01 01:00Z' ORDER BY views DESC, video_id LIMIT 3;
SELECT l, t.same(format('SELECT * FROM plays WHERE hour = %L ORDER BY views DESC, video_id LIMIT %s', '2026-01-01 01:00Z', l))
FROM unnest('{0,1,99,100,101,399,400,401,1000,2999,3000,3001,100000}'::int[]) l;
SELECT t.same('SELECT * FROM plays WHERE hour = ''2026-01-01 01:00Z'' ORDER BY views DESC, video_id LIMIT ALL');
SELECT t.same('SELECT * FROM plays WHERE hour = ''2026-01-01 01:00Z'' ORDER BY views DESC, video_id OFFSET 2990');
SELECT t.same('SELECT * FROM plays WHERE hour = ''2020-01-01 01:00Z'' ORDER BY views DESC, video_id LIMIT 5');
SELECT t.same('SELECT * FROM plays WHERE hour = NULL ORDER BY views DESC, video_id LIMIT 5');
-- Joins scan again for each outer row
SELECT t.same('SELECT h, x.* FROM generate_series(''2026-01-01Z''::timestamptz, ''2026-01-01 04:00Z'', ''1 hour'') h, LATERAL (SELECT video_id, views FROM plays WHERE hour = h ORDER BY views DESC, video_id LIMIT 150) x');
SELECT t.same('SELECT h, n, x.* FROM generate_series(''2026-01-01Z''::timestamptz, ''2026-01-01 04:00Z'', ''1 hour'') h, generate_series(1, 400, 133) n, LATERAL (SELECT video_id, views FROM plays WHERE hour = h ORDER BY views DESC, video_id LIMIT n) x');

-- NULLs in group, score and tie-breakers: NULL scores rank above all, NULL tie-breakers last or first as declared
CREATE TABLE nulls (a int, b text, score int, x int, y int);
INSERT INTO nulls SELECT nullif(n % 3, 0), nullif(n % 2, 0), nullif(n % 7, 0), nullif(n % 5, 0), nullif(n % 11, 0) FROM generate_series(1, 700) n;
CREATE INDEX nulls_top ON nulls USING topk (a, b, score DESC, x, y DESC) WITH (k = 5);
SELECT q, t.same('SELECT * FROM nulls WHERE ' || q) FROM unnest(ARRAY[
    'a = 1 AND b = ''1'' ORDER BY score DESC, x, y DESC LIMIT 40', 'a = 1 AND b IS NULL ORDER BY a, b, score DESC, x, y DESC LIMIT 40',
    'a IS NULL AND b = ''1'' ORDER BY a, b, score DESC, x, y DESC LIMIT 40', 'a IS NULL AND b IS NULL ORDER BY a, b, score DESC, x, y DESC',
    'a = 1 ORDER BY b, score DESC, x, y DESC LIMIT 40', 'a = 1 AND b = ''1'' AND score IS NULL ORDER BY score DESC, x, y DESC',
    'a = 1 AND b = ''1'' AND score IS NOT NULL ORDER BY score DESC, x, y DESC LIMIT 10', 'a = 1 AND b = ''1'' AND score = 3 ORDER BY x, y DESC',
    'a = 1 AND b = ''1'' AND score <= 5 AND score > 2 ORDER BY score DESC, x, y DESC LIMIT 30', 'a = 1 AND b = ''1'' AND x IS NULL ORDER BY score DESC, x, y DESC LIMIT 30',
    'a = 1 AND b = ''1'' AND score >= 2 AND x < 3 AND y >= 4 ORDER BY score DESC, x, y DESC LIMIT 30', 'a IN (1, 2) AND b = ''1'' ORDER BY a, b, score DESC, x, y DESC LIMIT 30',
    'a >= 1 AND a < 2 ORDER BY a, b, score DESC, x, y DESC LIMIT 30', 'b = ''1'' ORDER BY a, b, score DESC, x, y DESC LIMIT 30', 'true ORDER BY a, b, score DESC, x, y DESC',
    'true ORDER BY a DESC, b DESC, score, x DESC, y LIMIT 50', 'a = 1 AND b = ''1'' ORDER BY score, x DESC, y LIMIT 50',
    'a IS NOT NULL ORDER BY a, b, score DESC, x, y DESC LIMIT 30', 'a = 1 AND b = ''1'' AND (score, x) < (4, 2) ORDER BY score DESC, x, y DESC LIMIT 30',
    'a = 1 AND a > 2 AND b = ''1'' ORDER BY score DESC, x, y DESC LIMIT 30', 'a = 1 AND a > 0 AND b = ''1'' ORDER BY score DESC, x, y DESC LIMIT 30']) q;

-- Types: literals of other types, integers at their ends, floats that are no numbers, dates
CREATE TABLE small_types (g2 smallint, g4 int, g8 bigint, f4 real, f8 float8, d date, ts timestamp, tz timestamptz, n numeric, id int);
INSERT INTO small_types SELECT n % 2, n % 2, n % 2, n % 2, n % 2, '2026-01-01'::date + n % 2, '2026-01-01'::timestamp + n % 2 * interval '1 day', '2026-01-01Z'::timestamptz + n % 2 * interval '1 day', n % 2, n FROM generate_series(1, 300) n;
INSERT INTO small_types SELECT 32767, 2147483647, 9223372036854775807, 'infinity', 'infinity', 'infinity', 'infinity', 'infinity', 'NaN', 1000;
INSERT INTO small_types SELECT -32768, -2147483648, -9223372036854775808, '-infinity', '-infinity', '-infinity', '-infinity', '-infinity', '-Infinity', 1001;
INSERT INTO small_types SELECT 0, 0, 0, '-0', '-0', '2026-01-01', '2026-01-01', '2026-01-01Z', 0.000, 1002;
INSERT INTO small_types SELECT 0, 0, 0, 'NaN', 'NaN', '2026-01-01', '2026-01-01', '2026-01-01Z', 1e100, 1003;
DO $$ DECLARE c text; BEGIN FOREACH c IN ARRAY '{g2,g4,g8,f4,f8,d,ts,tz,n}'::text[] LOOP
    EXECUTE format('CREATE INDEX %I_top ON small_types USING topk (%I, id DESC) WITH (k = 2)', c, c);
    EXECUTE format('CREATE INDEX %I_score_top ON small_types USING topk (%I DESC, id) WITH (k = 2)', c, c); END LOOP; END $$;
SELECT l, t.same(format('SELECT %s, id FROM small_types WHERE %s ORDER BY id DESC LIMIT 7', split_part(l, ' ', 1), l)) FROM unnest(ARRAY[
    'g2 = 1', 'g2 = 1::int', 'g2 = 1::bigint', 'g2 = 100000', 'g4 = 1::smallint', 'g4 = 1::bigint', 'g4 = 9223372036854775807', 'g8 = 1', 'g8 = 1::smallint', 'g8 = -9223372036854775808',
    'f4 = 1', 'f4 = 1::float8', 'f4 = 0', 'f4 = 0.1', 'f4 = ''NaN''::float8', 'f8 = ''-0''', 'f8 = 1::float4', 'f8 = ''NaN''', 'f8 = ''infinity''::real', 'd = ''2026-01-02''', 'd = ''2026-01-02''::timestamp', 'd = ''2026-01-02 01:00''::timestamp',
    'd = ''2026-01-02Z''::timestamptz', 'ts = ''2026-01-02''::date', 'ts = ''2026-01-02Z''::timestamptz', 'tz = ''2026-01-02''::date', 'tz = ''2026-01-02''::timestamp', 'tz = ''infinity''', 'n = 1', 'n = 1.000', 'n = 0', 'n = ''NaN''']) l;
SELECT c, t.same(format('SELECT %s, id FROM small_types ORDER BY %s DESC, id LIMIT 9', c, c)) FROM unnest('{g2,g4,g8,f4,f8,d,ts,tz,n}'::text[]) c;
-- Scores at the end of their type, which leave no room above them
UPDATE small_types SET g2 = 32766, g4 = 2147483646, g8 = 9223372036854775806, f8 = 1.7976931348623157e308, f4 = 3.4028235e38 WHERE id = 50;
UPDATE small_types SET g2 = g2 + 1, g4 = g4 + 1, g8 = g8 + 1 WHERE id = 50;
SELECT c, t.same(format('SELECT %s, id FROM small_types ORDER BY %s DESC, id LIMIT 9', c, c)) FROM unnest('{g2,g4,g8,f4,f8,d,ts,tz,n}'::text[]) c;

-- All equal; groups smaller than k; k at its bounds
CREATE TABLE bounds (g int, score int, id int PRIMARY KEY);
INSERT INTO bounds SELECT n % 2, 1, n FROM generate_series(1, 4000) n;
INSERT INTO bounds SELECT 10 + n, n, -n FROM generate_series(1, 50) n;
CREATE INDEX bounds_top ON bounds USING topk (g, score DESC, id) WITH (k = 1);
SELECT g, l, t.same(format('SELECT * FROM bounds WHERE g = %s ORDER BY score DESC, id LIMIT %s', g, l)) FROM unnest('{0,1,2,11,60}'::int[]) g, unnest('{1,2,4,5,1000,5000}'::int[]) l;
DROP INDEX bounds_top;
CREATE INDEX bounds_top ON bounds USING topk (g, score DESC, id) WITH (k = 10000);
SELECT g, l, t.same(format('SELECT * FROM bounds WHERE g = %s ORDER BY score DESC, id LIMIT %s', g, l)) FROM unnest('{0,60}'::int[]) g, unnest('{1,2000,10001}'::int[]) l;
DELETE FROM bounds;
SELECT t.same('SELECT * FROM bounds WHERE g = 0 ORDER BY score DESC, id LIMIT 5');
VACUUM bounds;
INSERT INTO bounds SELECT n % 2, 1, n FROM generate_series(1, 400) n;
SELECT t.same('SELECT * FROM bounds WHERE g = 0 ORDER BY score DESC, id LIMIT 5');
SELECT topk.index_check('bounds_top');

-- Unlogged and temporary; TRUNCATE; wide rows moved out of line
CREATE UNLOGGED TABLE unlogged_bounds (LIKE bounds); CREATE TEMPORARY TABLE temporary_bounds (LIKE bounds) ON COMMIT DELETE ROWS;
CREATE INDEX unlogged_top ON unlogged_bounds USING topk (g, score DESC, id) WITH (k = 2);
CREATE INDEX temporary_top ON temporary_bounds USING topk (g, score DESC, id) WITH (k = 2);
INSERT INTO unlogged_bounds SELECT n % 2, n * 7919 % 1009, n FROM generate_series(1, 3000) n;
SELECT t.same('SELECT * FROM unlogged_bounds WHERE g = 0 ORDER BY score DESC, id LIMIT 500');
BEGIN;
INSERT INTO temporary_bounds TABLE unlogged_bounds;
SELECT t.same('SELECT * FROM temporary_bounds WHERE g = 0 ORDER BY score DESC, id LIMIT 500');
COMMIT;
SELECT t.same('SELECT * FROM temporary_bounds WHERE g = 0 ORDER BY score DESC, id LIMIT 500');
INSERT INTO temporary_bounds VALUES (0, 1, 1);
TRUNCATE unlogged_bounds;
SELECT t.same('SELECT * FROM unlogged_bounds WHERE g = 0 ORDER BY score DESC, id LIMIT 500');
INSERT INTO unlogged_bounds VALUES (0, 1, 1), (0, 2, 2);
SELECT t.same('SELECT * FROM unlogged_bounds WHERE g = 0 ORDER BY score DESC, id LIMIT 500');
SELECT topk.index_check('unlogged_top'), topk.index_check('temporary_top');
CREATE TABLE toasted (g text, score numeric, id text COLLATE "C", neighbour text);
ALTER TABLE toasted ALTER neighbour SET STORAGE EXTERNAL, ALTER g SET STORAGE EXTERNAL, ALTER id SET STORAGE EXTERNAL;
CREATE INDEX toasted_top ON toasted USING topk (g, score DESC, id) WITH (k = 2);
INSERT INTO toasted SELECT repeat('g', 1 + n % 2 * 3000), (n * 7919 % 101)::numeric / 7, repeat('i', n % 3 * 2500) || n, repeat('n', 5000) FROM generate_series(1, 300) n;
UPDATE toasted SET score = score + 1 WHERE id LIKE '%7';
SELECT t.same('SELECT g, score, id FROM toasted WHERE g = ''g'' ORDER BY score DESC, id LIMIT 70');
SELECT t.same('SELECT g, score, id FROM toasted WHERE g = repeat(''g'', 3001) ORDER BY score DESC, id LIMIT 70');
SELECT topk.index_check('toasted_top');

-- Partitions: the index of the parent, merged in order
CREATE TABLE parts (g int, score int, id int) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (1000); CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (1000) TO (5000);
CREATE INDEX parts_top ON parts USING topk (g, score DESC, id) WITH (k = 10);
INSERT INTO parts SELECT n % 3, n * 7919 % 1009, n FROM generate_series(0, 3999) n;
CREATE TABLE parts_3 PARTITION OF parts DEFAULT;
INSERT INTO parts SELECT n % 3, n * 7919 % 1009, -n FROM generate_series(1, 1500) n;
UPDATE parts SET id = id + 1000 WHERE id BETWEEN 500 AND 520;
VACUUM ANALYZE parts;
EXPLAIN (COSTS OFF) SELECT * FROM parts WHERE g = 1 ORDER BY score DESC, id LIMIT 10;
SELECT l, t.same(format('SELECT * FROM parts WHERE g = 1 ORDER BY score DESC, id LIMIT %s', l)) FROM unnest('{1,10,100,3000}'::int[]) l;

-- Prepared with an unknown limit: custom plans, then a generic one
SET plan_cache_mode = force_generic_plan;
PREPARE top (timestamptz, bigint) AS SELECT video_id, views FROM plays WHERE hour = $1 ORDER BY views DESC, video_id LIMIT $2;
EXPLAIN (COSTS OFF) EXECUTE top('2026-01-01 01:00Z', 3);
EXECUTE top('2026-01-01 01:00Z', 3); EXECUTE top('2026-01-01 02:00Z', 2); EXECUTE top(NULL, 2); EXECUTE top('2026-01-01 01:00Z', 0);
RESET plan_cache_mode;

-- Cursors: forward only, scrolled, held beyond the transaction, and of a serializable transaction
SET enable_sort = off;
BEGIN ISOLATION LEVEL SERIALIZABLE;
DECLARE forth NO SCROLL CURSOR FOR SELECT video_id FROM plays WHERE hour = '2026-01-01 01:00Z' ORDER BY views DESC, video_id;
DECLARE again SCROLL CURSOR WITH HOLD FOR SELECT video_id FROM plays WHERE hour = '2026-01-01 01:00Z' ORDER BY views DESC, video_id LIMIT 5;
FETCH 2 FROM forth; UPDATE plays SET views = 0 WHERE hour = '2026-01-01 01:00Z' AND views > 1000; FETCH 2 FROM forth;
MOVE 2990 FROM forth; FETCH ALL FROM forth;
FETCH 2 FROM again; FETCH BACKWARD 2 FROM again; FETCH LAST FROM again; FETCH FIRST FROM again;
SELECT video_id FROM plays WHERE hour = '2026-01-01 01:00Z' ORDER BY views DESC, video_id LIMIT 2;

COMMIT;
FETCH ALL FROM again; CLOSE again;
RESET enable_sort;
SELECT t.same('SELECT * FROM plays WHERE hour = ''2026-01-01 01:00Z'' ORDER BY views DESC, video_id LIMIT 500');

-- Rows locked, updated and deleted through a scan of the index
WITH best AS (SELECT hour, video_id FROM plays WHERE hour = '2026-01-01Z' ORDER BY views DESC, video_id LIMIT 3 FOR UPDATE SKIP LOCKED)
UPDATE plays p SET views = 5000 + p.views FROM best b WHERE p.hour = b.hour AND p.video_id = b.video_id RETURNING p.video_id, p.views;
WITH best AS (SELECT video_id FROM plays WHERE hour = '2026-01-01Z' ORDER BY views DESC, video_id LIMIT 2) DELETE FROM plays p USING best b WHERE p.hour = '2026-01-01Z' AND p.video_id = b.video_id;
SELECT t.same('SELECT * FROM plays WHERE hour = ''2026-01-01Z'' ORDER BY views DESC, video_id LIMIT 500');

-- What a transaction takes back
BEGIN;
SAVEPOINT s; UPDATE plays SET views = views + 100000 WHERE hour = '2026-01-01Z' AND video_id < 'vid_2'; SELECT t.same('SELECT * FROM plays WHERE hour = ''2026-01-01Z'' ORDER BY views DESC, video_id LIMIT 50'); ROLLBACK TO s;
SELECT t.same('SELECT * FROM plays WHERE hour = ''2026-01-01Z'' ORDER BY views DESC, video_id LIMIT 50');
CREATE INDEX plays_second_top ON plays USING topk (hour, views DESC, video_id) WITH (k = 3); DROP INDEX plays_top;
SELECT t.same('SELECT * FROM plays WHERE hour = ''2026-01-01Z'' ORDER BY views DESC, video_id LIMIT 50');
ROLLBACK;
SELECT t.same('SELECT * FROM plays WHERE hour = ''2026-01-01Z'' ORDER BY views DESC, video_id LIMIT 50');
SELECT topk.index_check('plays_top');

-- Alone with the other uses of an index: uniqueness, clustering, REPLICA IDENTITY, statistics of the column
CLUSTER plays USING plays_top;
ALTER TABLE plays REPLICA IDENTITY USING INDEX plays_top;
SET client_min_messages = error; DROP TABLE plays, nulls, small_types, bounds, unlogged_bounds, toasted, parts; DROP FUNCTION t.same(text), t.rows_of(text);
