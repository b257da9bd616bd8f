-- Paths of the index that ordinary tables do not take: conditions known to be NULL when the scan begins, as many columns as there can
-- be, keys whose alignment is longer than they are, a fallback through btrees of two columns and through more rows than work_mem has
-- room for, an order that only the operator class knows, and a class without operators.
SET client_min_messages = warning; SET timezone = 'UTC';
SET max_parallel_workers_per_gather = 0; SET enable_seqscan = off; SET enable_sort = off; SET enable_incremental_sort = off; SET enable_bitmapscan = off;
-- The list as the index gives it, and as a sort does
CREATE FUNCTION t.lists_agree(query text, OUT rows bigint, OUT agree boolean) LANGUAGE plpgsql AS $$
DECLARE by_index text[]; by_sort text[];
BEGIN
    EXECUTE format('SELECT array_agg(r::text) FROM (%s) r', query) INTO by_index;
    PERFORM set_config(name, 'off', true) FROM unnest('{enable_indexscan,enable_indexonlyscan}'::text[]) name;
    PERFORM set_config(name, 'on', true) FROM unnest('{enable_seqscan,enable_sort}'::text[]) name;
    EXECUTE format('SELECT array_agg(r::text) FROM (%s) r', query) INTO by_sort;
    PERFORM set_config(name, 'on', true) FROM unnest('{enable_indexscan,enable_indexonlyscan}'::text[]) name;
    PERFORM set_config(name, 'off', true) FROM unnest('{enable_seqscan,enable_sort}'::text[]) name;
    rows := coalesce(cardinality(by_sort), 0);
    agree := by_index IS NOT DISTINCT FROM by_sort;
END $$;

-- A group that turns out to be NULL: no row, without a look at the table
CREATE TABLE rare (a int, b int, id int, score int, PRIMARY KEY (a, b, id));
INSERT INTO rare SELECT n % 2, 1, n, n * 7919 % 1009 FROM generate_series(1, 40000) n;
CREATE INDEX rare_top ON rare USING topk (a, b, score DESC, id) WITH (k = 10);
VACUUM ANALYZE rare;
SET plan_cache_mode = force_generic_plan;
PREPARE of_group (int) AS SELECT id FROM rare WHERE a = $1 AND b = 1 ORDER BY score DESC, id LIMIT 3;
EXPLAIN (COSTS OFF) EXECUTE of_group(NULL);
EXECUTE of_group(NULL);
EXECUTE of_group(1);
DEALLOCATE of_group;
RESET plan_cache_mode;
-- The fallback through the primary key, whose first two columns are the group, with more row addresses than work_mem takes at once
SET work_mem = '64kB';
SELECT * FROM t.lists_agree('SELECT score, id FROM rare WHERE a = 1 AND b = 1 ORDER BY score DESC, id LIMIT 15000');
RESET work_mem;
-- Past the first pass of the fallback, which keeps the best 16384
SELECT * FROM t.lists_agree('SELECT score, id FROM rare WHERE a = 1 AND b = 1 ORDER BY score DESC, id');
-- A btree that names one column of the group twice is no way to the group
ALTER TABLE rare DROP CONSTRAINT rare_pkey;
CREATE INDEX rare_twice ON rare (a, a, b);
CREATE INDEX rare_partly ON rare (a, b) WHERE id > 0;
SELECT * FROM t.lists_agree('SELECT score, id FROM rare WHERE a = 1 AND b = 1 ORDER BY score DESC, id LIMIT 500');
DROP TABLE rare;

-- 32 columns are too many if none of them is a group, and not if one is
SELECT format('CREATE TABLE wide (%s)', string_agg(format('c%s int', n), ', ')) FROM generate_series(1, 32) n \gexec
SELECT format('CREATE INDEX ON wide USING topk (c1 DESC, %s)', string_agg('c' || n, ', ')) FROM generate_series(2, 32) n \gexec
SELECT format('CREATE INDEX wide_top ON wide USING topk (c1, c2 DESC, %s)', string_agg('c' || n, ', ')) FROM generate_series(3, 32) n \gexec
SELECT format('INSERT INTO wide SELECT 1, %s FROM generate_series(1, 300) n', string_agg(format('n %% %s', n), ', ')) FROM generate_series(2, 32) n \gexec
SELECT format($$SELECT * FROM t.lists_agree('SELECT * FROM wide WHERE c1 = 1 ORDER BY c2 DESC, %s LIMIT 50')$$, string_agg('c' || n, ', ')) FROM generate_series(3, 32) n \gexec
DROP TABLE wide;

-- Tie-breakers that fit, whose alignment does not: the key is left open after the score
SELECT format('CREATE TABLE padded (g int, score int, %s)', string_agg(format('s%1$s text COLLATE "C", i%1$s int8', n), ', ')) FROM generate_series(1, 14) n \gexec
SELECT format('CREATE INDEX padded_top ON padded USING topk (g, score DESC, %s) WITH (k = 5)', string_agg(format('s%1$s, i%1$s', n), ', ')) FROM generate_series(1, 14) n \gexec
SELECT format('INSERT INTO padded SELECT 1, n %% 7, %s FROM generate_series(1, 2000) n', string_agg(format('lpad((n %% %1$s)::text, 9, ''0''), n', n), ', ')) FROM generate_series(1, 14) n \gexec
SELECT format($$SELECT * FROM t.lists_agree('SELECT * FROM padded WHERE g = 1 ORDER BY score DESC, %s LIMIT 40')$$, string_agg(format('s%1$s, i%1$s', n), ', ')) FROM generate_series(1, 14) n \gexec
SELECT topk.index_check('padded_top');
DROP TABLE padded;

-- A type that only its operator class can order: points by their first coordinate
CREATE FUNCTION t.point_cmp(point, point) RETURNS int LANGUAGE plpgsql IMMUTABLE STRICT AS $$ BEGIN RETURN sign($1[0] - $2[0]); END $$;
CREATE FUNCTION t.point_lt(point, point) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS 'SELECT $1[0] < $2[0]';
CREATE FUNCTION t.point_le(point, point) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS 'SELECT $1[0] <= $2[0]';
CREATE FUNCTION t.point_eq(point, point) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS 'SELECT $1[0] = $2[0]';
CREATE FUNCTION t.point_ge(point, point) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS 'SELECT $1[0] >= $2[0]';
CREATE FUNCTION t.point_gt(point, point) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS 'SELECT $1[0] > $2[0]';
CREATE OPERATOR t.<~ (FUNCTION = t.point_lt, LEFTARG = point, RIGHTARG = point);
CREATE OPERATOR t.<=~ (FUNCTION = t.point_le, LEFTARG = point, RIGHTARG = point);
CREATE OPERATOR t.=~ (FUNCTION = t.point_eq, LEFTARG = point, RIGHTARG = point);
CREATE OPERATOR t.>=~ (FUNCTION = t.point_ge, LEFTARG = point, RIGHTARG = point);
CREATE OPERATOR t.>~ (FUNCTION = t.point_gt, LEFTARG = point, RIGHTARG = point);
CREATE OPERATOR CLASS t.point_ops DEFAULT FOR TYPE point USING topk AS
    OPERATOR 1 t.<~, OPERATOR 2 t.<=~, OPERATOR 3 t.=~, OPERATOR 4 t.>=~, OPERATOR 5 t.>~, FUNCTION 1 t.point_cmp(point, point);
CREATE TABLE places (g int, at point, id int);
-- What is beyond the candidates could not be sorted without a btree class; one with another function of comparison will do.
SELECT t.error('CREATE INDEX places_top ON places USING topk (g, at DESC, id)');
CREATE FUNCTION t.point_compare(point, point) RETURNS int LANGUAGE sql IMMUTABLE STRICT AS 'SELECT t.point_cmp($1, $2)';
CREATE OPERATOR CLASS t.point_btree_ops DEFAULT FOR TYPE point USING btree AS
    OPERATOR 1 t.<~, OPERATOR 2 t.<=~, OPERATOR 3 t.=~, OPERATOR 4 t.>=~, OPERATOR 5 t.>~, FUNCTION 1 t.point_compare(point, point);
INSERT INTO places SELECT 1, point(n * 7919 % 1009, n), n FROM generate_series(1, 900) n;
CREATE INDEX places_top ON places USING topk (g, at DESC, id) WITH (k = 3);
SELECT topk.index_check('places_top');
SELECT candidates < 900 AS few FROM topk.index_stats('places_top');
INSERT INTO places VALUES (1, point(5000, 0), 1000), (1, point(-1, 0), 1001);
SELECT topk.index_check('places_top');
SELECT * FROM t.lists_agree('SELECT at[0], id FROM places WHERE g = 1 ORDER BY at DESC, id LIMIT 2');
SELECT * FROM t.lists_agree('SELECT at[0], id FROM places WHERE g = 1 ORDER BY at DESC, id');
DROP TABLE places;

-- Groups of what has no hash function in core; those of its members that have one are groups.
CREATE TYPE t.measured AS (at money, n int);
CREATE TABLE made_of (m money[], c t.measured, i int[], s int);
SELECT t.error(statement) FROM unnest(ARRAY['CREATE INDEX ON made_of USING topk (m, s DESC)', 'CREATE INDEX ON made_of USING topk (c, s DESC)', 'CREATE INDEX ON made_of USING topk (i, s DESC, m, c)']) statement;
INSERT INTO made_of SELECT ARRAY[n::money], ROW(n::money, n)::t.measured, ARRAY[n % 2], n FROM generate_series(1, 100) n;
SELECT * FROM t.lists_agree('SELECT s FROM made_of WHERE i = ''{1}'' ORDER BY s DESC, m, c LIMIT 7');
DROP TABLE made_of; DROP TYPE t.measured;

-- Binary tie-breakers are cut after 64 bytes, zeros and all: bounds differ, and no list needs the table.
CREATE TABLE binaries (s int, b bytea, id int);
CREATE INDEX binaries_top ON binaries USING topk (s DESC, b) WITH (k = 10);
INSERT INTO binaries SELECT 1, decode(lpad(to_hex(n * 7919 % 1009), 8, '0') || repeat('00', 80), 'hex'), n FROM generate_series(1, 1000) n;
SELECT threshold IS NOT NULL AS has_threshold, candidates > 10 AS enough FROM topk.index_groups('binaries_top');
SELECT * FROM t.lists_agree('SELECT id FROM binaries ORDER BY s DESC, b LIMIT 10');
DROP TABLE binaries;

-- A class with a comparison and no operators is not one, nor is one with nothing
CREATE OPERATOR CLASS t.no_operators FOR TYPE int4 USING topk AS FUNCTION 1 btint4cmp(int4, int4);
SELECT amvalidate(oid) FROM pg_opclass WHERE opcname = 'no_operators';
CREATE OPERATOR CLASS t.nothing FOR TYPE int4 USING topk AS STORAGE int4;
SELECT amvalidate(oid) FROM pg_opclass WHERE opcname = 'nothing';
DROP OPERATOR FAMILY t.no_operators USING topk; DROP OPERATOR FAMILY t.nothing USING topk;
DROP FUNCTION t.point_cmp, t.point_lt, t.point_le, t.point_eq, t.point_ge, t.point_gt, t.point_compare CASCADE;
