-- The operator classes of access method topk: that each of them orders and finds groups as its type does, that hashes agree
-- across the types of a family, what amvalidate says, and classes made by users.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = warning;
CREATE SCHEMA classes;
SET search_path = classes;

-- Every type that btree orders by default has a default class here, of the same operators and comparisons.
SELECT c.opcintype::regtype AS only_in_btree FROM pg_opclass c WHERE c.opcmethod = (SELECT oid FROM pg_am WHERE amname = 'btree') AND c.opcdefault AND c.oid < 16384
    AND NOT EXISTS (SELECT FROM pg_opclass o JOIN pg_am a ON a.oid = o.opcmethod AND a.amname = 'topk' WHERE o.opcdefault AND o.opcintype = c.opcintype);
WITH member AS (
    SELECT m.amname, f.opfname, 'operator' AS kind, o.amopstrategy AS number, o.amoplefttype AS lefttype, o.amoprighttype AS righttype, o.amopopr AS object
    FROM pg_amop o JOIN pg_opfamily f ON f.oid = o.amopfamily JOIN pg_am m ON m.oid = f.opfmethod
    UNION ALL
    SELECT m.amname, f.opfname, 'function', p.amprocnum, p.amproclefttype, p.amprocrighttype, p.amproc
    FROM pg_amproc p JOIN pg_opfamily f ON f.oid = p.amprocfamily JOIN pg_am m ON m.oid = f.opfmethod WHERE p.amprocnum = 1)
SELECT coalesce(ours.opfname, btrees.opfname) AS differs, coalesce(ours.kind, btrees.kind) AS kind, coalesce(ours.number, btrees.number) AS number
FROM (SELECT * FROM member WHERE amname = 'topk') ours
FULL JOIN (SELECT * FROM member WHERE amname = 'btree' AND opfname IN (SELECT opfname FROM member WHERE amname = 'topk')) btrees
    USING (opfname, kind, number, lefttype, righttype)
WHERE ours.object IS DISTINCT FROM btrees.object;

SELECT f.opfname, p.amproclefttype::regtype AS "left", p.amprocrighttype::regtype AS "right", p.amprocnum AS number, p.amproc::regproc AS function
FROM pg_amproc p JOIN pg_opfamily f ON f.oid = p.amprocfamily JOIN pg_am m ON m.oid = f.opfmethod
WHERE m.amname = 'topk' AND p.amprocnum > 1 ORDER BY f.opfname COLLATE "C", 2, 3, 4;

SELECT count(*) AS classes, count(*) FILTER (WHERE amvalidate(c.oid)) AS valid,
       count(*) FILTER (WHERE obj_description(c.oid, 'pg_opclass') IS NULL OR obj_description(c.opcfamily, 'pg_opfamily') IS NULL) AS without_comment
FROM pg_opclass c JOIN pg_am m ON m.oid = c.opcmethod WHERE m.amname = 'topk';

-- ---------------------------------------------------------------------------------------------------------------------
-- Every type as score, tie-breaker and group: what the index answers is what a sort of the table answered before
-- ---------------------------------------------------------------------------------------------------------------------

-- 'ok', or what is wrong. k = 3 keeps few candidates, so most of the longer answers need the rest of the table, too.
CREATE FUNCTION answers(keys text, filter text, ordering text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    query text := format('SELECT array_agg(id) FROM (SELECT id FROM typed WHERE %s ORDER BY %s LIMIT $1) top', filter, ordering);
    bounds int[] := '{1,3,20,1000}';
    bound int;
    sorted int[][] := '{}';
    expected text[] := '{}';
    found text;
    plan json;
    result text := 'ok';
BEGIN
    FOREACH bound IN ARRAY bounds LOOP
        EXECUTE query INTO found USING bound;
        expected := expected || found;
    END LOOP;
    BEGIN
        EXECUTE format('CREATE INDEX typed_idx ON typed USING topk (%s) WITH (k = 3)', keys);
    EXCEPTION WHEN OTHERS THEN
        RETURN SQLSTATE;
    END;
    PERFORM set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true), set_config('enable_incremental_sort', 'off', true);
    EXECUTE 'EXPLAIN (COSTS OFF, FORMAT JSON) ' || replace(query, '$1', '3') INTO plan;
    IF plan::text !~ '"Index Name": "typed_idx"' OR plan::text ~ 'Sort' THEN
        result := 'not used';
    END IF;
    FOR i IN 1 .. cardinality(bounds) LOOP
        EXECUTE query INTO found USING bounds[i];
        IF found IS DISTINCT FROM expected[i] THEN
            result := format('LIMIT %s: %s, not %s', bounds[i], found, expected[i]);
        END IF;
    END LOOP;
    PERFORM topk.index_check('typed_idx');
    PERFORM set_config('enable_seqscan', 'on', true), set_config('enable_sort', 'on', true), set_config('enable_incremental_sort', 'on', true);
    DROP INDEX typed_idx;
    RETURN result;
END $$;

-- 300 rows, the expression's value of i = 0 … 39 (and NULL) in each of three groups; column "same" is one value.
CREATE FUNCTION try_type(type text, value text, OUT score text, OUT tie_breaker text, OUT as_group text, OUT descending_tie text) LANGUAGE plpgsql AS $$
BEGIN
    DROP TABLE IF EXISTS typed;
    EXECUTE format('CREATE TABLE typed (id int, g int, same int, v %s)', type);
    EXECUTE format('INSERT INTO typed SELECT n, n %% 3, 7, CASE WHEN n %% 41 < 40 THEN %s END FROM (SELECT n, n * 17 %% 41 AS i FROM generate_series(1, 300) n) s', value);
    ANALYZE typed;
    score := answers('g, v DESC, id', 'g = 1', 'v DESC, id');
    tie_breaker := answers('g, same DESC, v, id', 'g = 1', 'same DESC, v, id');
    descending_tie := answers('g, same DESC, v DESC, id', 'g = 1', 'same DESC, v DESC, id');
    as_group := answers('v, g DESC, id', 'v = (SELECT v FROM typed WHERE id = 2)', 'g DESC, id');
END $$;

CREATE TYPE mood AS ENUM ('m0', 'm1', 'm2', 'm3', 'm4');
ALTER TYPE mood ADD VALUE 'between' BEFORE 'm2';
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN positive AS bigint CHECK (value > 0);

SELECT o.type, t.* FROM (VALUES
    ('int2', '(i - 20)::int2'), ('int4', 'i - 20'), ('int8', '(i - 20) * 10000000000'), ('positive', '(i + 1)::int8'),
    ('float4', '(i - 20) / 4.0'), ('float8', 'CASE i WHEN 1 THEN ''NaN'' WHEN 2 THEN ''-Infinity'' ELSE (i - 20) / 3.0 END::float8'),
    ('numeric', '((i - 20) / 3.0)::numeric(9, 2)'), ('money', '(i - 20)::money'), ('bool', 'i > 20'), ('oid', 'i + 4294967200::oid::int8'),
    ('date', 'date ''2024-02-20'' + i'), ('timestamp', 'timestamp ''2024-02-20'' + i * interval ''7 hours'''),
    ('timestamptz', 'timestamptz ''2024-03-20'' + i * interval ''7 hours'''), ('time', 'time ''00:00'' + i * interval ''35 min'''),
    ('timetz', '(timetz ''00:00+00'' + i * interval ''35 min'')::timetz'), ('interval', 'i * interval ''11 hours'''),
    ('text', '''t'' || i'), ('text COLLATE "C"', 'repeat(''long '', i) || i'), ('varchar(10)', '''v'' || i'), ('bpchar(10)', '''b'' || i'), ('name', '''n'' || i'),
    ('"char"', 'chr(65 + i)::"char"'), ('bytea', 'int4send(i * 50000000)'), ('uuid', 'md5(i::text)::uuid'), ('jsonb', 'jsonb_build_object(''a'', i)'),
    ('inet', 'inet ''10.0.0.250'' + i'), ('cidr', '(''10.'' || i || ''.0.0/16'')::cidr'), ('macaddr', '(''08:00:2b:01:02:'' || lpad(to_hex(i), 2, ''0''))::macaddr'),
    ('macaddr8', '(''08:00:2b:01:02:03:04:'' || lpad(to_hex(i), 2, ''0''))::macaddr8'), ('bit(8)', 'i::bit(8)'), ('varbit', '(i::bit(8))::varbit(8) << (i % 3)'),
    ('pg_lsn', '(''1/'' || to_hex(i * 1000))::pg_lsn'), ('xid8', 'i::text::xid8'), ('tid', 'format(''(%s,%s)'', i / 7, i % 7)::tid'),
    ('mood', '((enum_range(NULL::mood))[i % 6 + 1])'), ('int4[]', 'ARRAY[i / 7, i % 7]'), ('oidvector', 'format(''%s %s'', i / 7, i % 7)::oidvector'),
    ('pair', 'ROW(i / 7, ''x'' || i)::pair'), ('int4range', 'int4range(i / 7, i)'), ('int4multirange', 'int4multirange(int4range(i / 7, i))'),
    ('tsvector', 'to_tsvector(''simple'', ''word '' || i)'), ('tsquery', 'to_tsquery(''simple'', ''word'' || i)')) o (type, value), try_type(o.type, o.value) t;

-- Values that are equal though they look different are one group.
CREATE TABLE looks (id int, n numeric, f float8, b bpchar(4), iv interval, j jsonb, a inet);
INSERT INTO looks VALUES (1, 1.0, 0.0, 'x', '1 day', '{"a": 1}', '10.0.0.1'), (2, 1.00, '-0', 'x   ', '24 hours', '{"a": 1.0}', '10.0.0.1/32'), (3, 1, 0, 'x', '0.5 days 12 hours', '{"a": 1.00}', '10.0.0.1');
CREATE INDEX ON looks USING topk (n, id DESC);
CREATE INDEX ON looks USING topk (f, id DESC);
CREATE INDEX ON looks USING topk (b, id DESC);
CREATE INDEX ON looks USING topk (iv, id DESC);
CREATE INDEX ON looks USING topk (j, id DESC);
CREATE INDEX ON looks USING topk (a, id DESC);
BEGIN;
SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off;
SELECT ARRAY(SELECT id FROM looks WHERE n = 1.000 ORDER BY id DESC LIMIT 3) AS n, ARRAY(SELECT id FROM looks WHERE f = '-0' ORDER BY id DESC LIMIT 3) AS f,
       ARRAY(SELECT id FROM looks WHERE b = 'x ' ORDER BY id DESC LIMIT 3) AS b, ARRAY(SELECT id FROM looks WHERE iv = '24:00' ORDER BY id DESC LIMIT 3) AS iv,
       ARRAY(SELECT id FROM looks WHERE j = '{"a": 1.0}' ORDER BY id DESC LIMIT 3) AS j, ARRAY(SELECT id FROM looks WHERE a = '10.0.0.1' ORDER BY id DESC LIMIT 3) AS a;
COMMIT;

-- ---------------------------------------------------------------------------------------------------------------------
-- Pairs of types: equal values hash alike
-- ---------------------------------------------------------------------------------------------------------------------

SELECT setseed(0.25);
CREATE TABLE sample_int8 AS SELECT (random() * 200 - 100)::int8 AS v FROM generate_series(1, 60) UNION SELECT unnest('{-32769,-32768,32767,32768,-2147483648,2147483647,2147483648,-9223372036854775808,9223372036854775807}'::int8[]);
CREATE TABLE sample_int4 AS SELECT v::int4 FROM sample_int8 WHERE v BETWEEN -2147483648 AND 2147483647;
CREATE TABLE sample_int2 AS SELECT v::int2 FROM sample_int8 WHERE v BETWEEN -32768 AND 32767;
CREATE TABLE sample_float4 AS SELECT (random() * 100)::float4 AS v FROM generate_series(1, 60) UNION ALL SELECT unnest('{0,-0,NaN,Infinity,-Infinity,0.1,1e38,1e-45}'::float4[]);
CREATE TABLE sample_float8 AS SELECT v::float8 FROM sample_float4 UNION ALL SELECT unnest('{0.1,1e300,-0}'::float8[]);
-- Changes of the clock at midnight, days left out and repeated, the ends of the ranges.
CREATE TABLE sample_date AS SELECT '2010-01-01'::date + (random() * 6000)::int AS v FROM generate_series(1, 60)
    UNION SELECT unnest('{infinity,-infinity,2011-12-29,2011-12-30,2011-12-31,2018-11-04,2018-11-05,1883-11-18,294276-12-31,294277-01-01,5874897-12-31,4713-11-24 BC}'::date[]);
CREATE TABLE sample_timestamp AS SELECT v::timestamp FROM sample_date WHERE v < '294277-01-01' OR v = 'infinity'
    UNION SELECT v + (random() * interval '1 day') FROM sample_date WHERE v < '294276-12-31' AND v > '-infinity'
    UNION SELECT unnest('{2018-11-04 00:30,2018-03-25 02:30,2018-10-28 02:30,1999-12-31,1999-12-31 23:59:59.999999,294276-12-31 23:59:59.999999,4713-11-24 00:00 BC}'::timestamp[]);
CREATE TABLE sample_name AS SELECT left(md5(random()::text), 2)::name AS v FROM generate_series(1, 60) UNION SELECT unnest(ARRAY['', 'a', 'A', 'é', 'É', repeat('x', 63), repeat('é', 31)]::name[]);
CREATE TABLE sample_text AS SELECT v::text FROM sample_name UNION ALL SELECT repeat('x', 64);

-- Wherever left = right, the pair's hash of the right is the left type's own hash of the left.
CREATE FUNCTION pairs_agree(zone text, collation_name text, OUT pair text, OUT equal bigint, OUT hashed_apart bigint) RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
    p record;
    collate_clause text := '';
BEGIN
    -- Core's merge join fails on local times where the clock goes back, and its hash join on names whose collation is not deterministic.
    PERFORM set_config('timezone', zone, true), set_config('enable_mergejoin', 'off', true), set_config('enable_hashjoin', 'off', true);
    CREATE OR REPLACE TEMP VIEW sample_timestamptz AS SELECT v::timestamptz FROM sample_date WHERE v < '294276-12-31' OR v = 'infinity' UNION SELECT v::timestamptz FROM sample_timestamp WHERE v < '294276-12-31' OR v = 'infinity';
    FOR p IN SELECT l.typname AS l, r.typname AS r, both_ways.amproc::regproc AS cross_hash, own.amproc::regproc AS own_hash, f.opfname
             FROM pg_amproc both_ways JOIN pg_opfamily f ON f.oid = both_ways.amprocfamily JOIN pg_am m ON m.oid = f.opfmethod AND m.amname = 'topk'
             JOIN pg_amproc own ON own.amprocfamily = f.oid AND own.amprocnum = 11 AND own.amproclefttype = both_ways.amproclefttype AND own.amprocrighttype = both_ways.amproclefttype
             JOIN pg_type l ON l.oid = both_ways.amproclefttype JOIN pg_type r ON r.oid = both_ways.amprocrighttype
             WHERE both_ways.amprocnum = 11 AND f.opfname = ANY ('{integer_ops,float_ops,datetime_ops,text_ops}') AND (collation_name IS NULL) = (f.opfname <> 'text_ops')
                 AND (zone = 'UTC' OR f.opfname = 'datetime_ops') ORDER BY f.opfname COLLATE "C", l.typname COLLATE "C", r.typname COLLATE "C" LOOP
        IF collation_name IS NOT NULL THEN
            collate_clause := format(' COLLATE %I', collation_name);
        END IF;
        pair := format('%s = %s', p.l, p.r);
        -- date is hashed as the integer it is
        EXECUTE format('SELECT count(*), count(*) FILTER (WHERE %s(%s%s, seed) <> %s(%s%s, seed)) FROM sample_%s l JOIN sample_%s r ON l.v%s = r.v%s, unnest(ARRAY[0, 1, -7777777777]) seed',
                       p.own_hash, CASE p.l WHEN 'date' THEN date_number('l.v') WHEN 'timestamptz' THEN 'l.v AT TIME ZONE ''UTC''' ELSE 'l.v' END, collate_clause,
                       p.cross_hash, CASE WHEN p.r = 'date' AND p.l = 'date' THEN date_number('r.v') WHEN p.r = 'timestamptz' THEN 'r.v AT TIME ZONE ''UTC''' ELSE 'r.v' END, collate_clause,
                       p.l, p.r, collate_clause, collate_clause) INTO equal, hashed_apart;
        RETURN NEXT;
    END LOOP;
END $$;
CREATE FUNCTION date_number(date text) RETURNS text LANGUAGE sql IMMUTABLE AS
    $$ SELECT format('CASE %1$s WHEN ''infinity'' THEN 2147483647 WHEN ''-infinity'' THEN -2147483648 ELSE %1$s - date ''2000-01-01'' END', date) $$;
CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);

SELECT pair, equal > 0 AS tested, hashed_apart FROM pairs_agree('UTC', NULL);
SELECT zone, pair, equal > 0 AS tested, hashed_apart FROM unnest('{Europe/Berlin,America/Sao_Paulo,Pacific/Apia,America/New_York}'::text[]) zone, pairs_agree(zone, NULL);
SELECT collation_name, pair, equal > 0 AS tested, hashed_apart FROM unnest('{C,any_case}'::text[]) collation_name, pairs_agree('UTC', collation_name);

-- A group is found by a constant of another type, whether the pair has a hash or not.
CREATE TABLE crossed (id int, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, d date, ts timestamp, tz timestamptz, t text COLLATE "C", n name);
INSERT INTO crossed SELECT g, g % 5, g % 5, g % 5, g % 5 / 4.0, g % 5 / 4.0, d, d, d, 'x' || g % 5, 'x' || g % 5 FROM generate_series(1, 100) g, LATERAL (SELECT date '2018-11-01' + g % 5) s (d);
CREATE INDEX ON crossed USING topk (i2, id DESC) WITH (k = 3);
CREATE INDEX ON crossed USING topk (i4, id DESC) WITH (k = 3);
CREATE INDEX ON crossed USING topk (i8, id DESC) WITH (k = 3);
CREATE INDEX ON crossed USING topk (f4, id DESC) WITH (k = 3);
CREATE INDEX ON crossed USING topk (f8, id DESC) WITH (k = 3);
CREATE INDEX ON crossed USING topk (d, id DESC) WITH (k = 3);
CREATE INDEX ON crossed USING topk (ts, id DESC) WITH (k = 3);
CREATE INDEX ON crossed USING topk (tz, id DESC) WITH (k = 3);
CREATE INDEX ON crossed USING topk (t, id DESC) WITH (k = 3);
CREATE INDEX ON crossed USING topk (n, id DESC) WITH (k = 3);
ANALYZE crossed;

CREATE FUNCTION cross_answer(condition text, OUT top int[], OUT by_index boolean) LANGUAGE plpgsql AS $$
DECLARE
    query text := format('SELECT ARRAY(SELECT id FROM crossed WHERE %s ORDER BY id DESC LIMIT 3)', condition);
    plan json;
    sorted int[];
BEGIN
    EXECUTE query INTO sorted;
    PERFORM set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true);
    EXECUTE 'EXPLAIN (FORMAT JSON) ' || query INTO plan;
    EXECUTE query INTO top;
    PERFORM set_config('enable_seqscan', 'on', true), set_config('enable_sort', 'on', true);
    by_index := plan::text ~ 'Index Cond' AND plan::text !~ 'Sort Key';
    IF top IS DISTINCT FROM sorted THEN
        RAISE EXCEPTION '%: % instead of %', condition, top, sorted;
    END IF;
END $$;
-- (The planner does not see that t = name makes t constant, nor for a btree.)
SELECT c.condition, a.* FROM unnest(ARRAY['i2 = 3::int4', 'i2 = 3::int8', 'i2 = 70000', 'i4 = 3::int2', 'i4 = 3::int8', 'i8 = 3::int2', 'i8 = 3::int4', 'f4 = 0.75::float8', 'f4 = 0.1::float8', 'f8 = 0.75::float4',
    'd = timestamp ''2018-11-04''', 'd = timestamp ''2018-11-04 01:00''', 'd = timestamptz ''2018-11-04''', 'ts = date ''2018-11-04''', 'ts = timestamptz ''2018-11-04''',
    'tz = date ''2018-11-04''', 'tz = timestamp ''2018-11-04''', 't = name ''x3''', 'n = text ''x3''']) c (condition), cross_answer(c.condition) a;

-- ---------------------------------------------------------------------------------------------------------------------
-- Headroom: never below the score, monotone, saturating
-- ---------------------------------------------------------------------------------------------------------------------

SELECT s AS int2, topk.headroom(s) FROM unnest('{-32768,-1,0,1,15,16,17,1000,30840,30841,32767}'::int2[]) s;
SELECT s AS int4, topk.headroom(s) FROM unnest('{-2147483648,-1,0,15,16,1000000,2021161080,2147483647}'::int4[]) s;
SELECT s AS int8, topk.headroom(s) FROM unnest('{-9223372036854775808,-1,0,15,16,1000000,9223372036854775807}'::int8[]) s;
SELECT s AS float4, topk.headroom(s) FROM unnest('{NaN,-Infinity,Infinity,-1,-0,0,1e-45,1,32,3e38,3.4e38}'::float4[]) s;
SELECT s AS float8, topk.headroom(s) FROM unnest('{NaN,-Infinity,Infinity,-1,-0,0,5e-324,1,32,1e308,1.79e308}'::float8[]) s;
SELECT bool_and(h >= s) AS above, bool_and(h >= previous) AS monotone FROM (SELECT s, topk.headroom(s::int2) AS h, lag(topk.headroom(s::int2)) OVER (ORDER BY s) AS previous FROM generate_series(-32768, 32767) s) x;
SELECT bool_and(h >= s) AS above, bool_and(h >= previous) AS monotone FROM (SELECT s, topk.headroom(s) AS h, lag(topk.headroom(s)) OVER (ORDER BY s) AS previous FROM (SELECT (random() * 9.2e18)::int8 AS s FROM generate_series(1, 2000)) r) x;
SELECT bool_and(h >= s) AS above, bool_and(h >= previous) AS monotone FROM (SELECT s, topk.headroom(s) AS h, lag(topk.headroom(s)) OVER (ORDER BY s) AS previous FROM (SELECT (random() * 10 ^ (random() * 70 - 35))::float4 AS s FROM generate_series(1, 2000)) r) x;
SELECT topk.headroom(NULL::int8) AS null;

-- ---------------------------------------------------------------------------------------------------------------------
-- Classes made by users
-- ---------------------------------------------------------------------------------------------------------------------

-- Integers by their distance from zero: another order, another equality and so another hash.
-- (Operators of language sql would be inlined, and lost to every index.)
CREATE FUNCTION distance_cmp(int4, int4) RETURNS int4 LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT pg_catalog.btint4cmp(abs($1), abs($2)) $$;
CREATE FUNCTION distance_hash(int4, int8) RETURNS int8 LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT pg_catalog.hashint4extended(abs($1), $2) $$;
CREATE FUNCTION distance_lt(int4, int4) RETURNS bool LANGUAGE plpgsql IMMUTABLE STRICT AS $$ BEGIN RETURN abs($1) < abs($2); END $$;
CREATE FUNCTION distance_le(int4, int4) RETURNS bool LANGUAGE plpgsql IMMUTABLE STRICT AS $$ BEGIN RETURN abs($1) <= abs($2); END $$;
CREATE FUNCTION distance_eq(int4, int4) RETURNS bool LANGUAGE plpgsql IMMUTABLE STRICT AS $$ BEGIN RETURN abs($1) = abs($2); END $$;
CREATE FUNCTION distance_ge(int4, int4) RETURNS bool LANGUAGE plpgsql IMMUTABLE STRICT AS $$ BEGIN RETURN abs($1) >= abs($2); END $$;
CREATE FUNCTION distance_gt(int4, int4) RETURNS bool LANGUAGE plpgsql IMMUTABLE STRICT AS $$ BEGIN RETURN abs($1) > abs($2); END $$;
CREATE OPERATOR |<| (FUNCTION = distance_lt, LEFTARG = int4, RIGHTARG = int4, COMMUTATOR = |>|, NEGATOR = |>=|);
CREATE OPERATOR |<=| (FUNCTION = distance_le, LEFTARG = int4, RIGHTARG = int4, COMMUTATOR = |>=|, NEGATOR = |>|);
CREATE OPERATOR |=| (FUNCTION = distance_eq, LEFTARG = int4, RIGHTARG = int4, COMMUTATOR = |=|, MERGES);
CREATE OPERATOR |>=| (FUNCTION = distance_ge, LEFTARG = int4, RIGHTARG = int4, COMMUTATOR = |<=|, NEGATOR = |<|);
CREATE OPERATOR |>| (FUNCTION = distance_gt, LEFTARG = int4, RIGHTARG = int4, COMMUTATOR = |<|, NEGATOR = |<=|);
CREATE OPERATOR CLASS distance_ops FOR TYPE int4 USING btree AS
    OPERATOR 1 |<|, OPERATOR 2 |<=|, OPERATOR 3 |=|, OPERATOR 4 |>=|, OPERATOR 5 |>|, FUNCTION 1 distance_cmp(int4, int4);
CREATE OPERATOR CLASS distance_ops FOR TYPE int4 USING topk AS
    OPERATOR 1 |<|, OPERATOR 2 |<=|, OPERATOR 3 |=|, OPERATOR 4 |>=|, OPERATOR 5 |>|,
    FUNCTION 1 distance_cmp(int4, int4), FUNCTION 11 distance_hash(int4, int8);
SELECT amvalidate(c.oid) FROM pg_opclass c JOIN pg_am m ON m.oid = c.opcmethod WHERE c.opcname = 'distance_ops' AND m.amname = 'topk';

DROP TABLE typed;
CREATE TABLE typed AS SELECT n AS id, n % 7 - 3 AS g, nullif(n * 37 % 101, 7) - 50 AS v FROM generate_series(1, 300) n;
ANALYZE typed;
SELECT answers('g distance_ops, v distance_ops DESC, id', 'g |=| -2', 'v USING |>|, id') AS groups_and_scores_by_distance;
SELECT answers('g, v DESC NULLS LAST, id NULLS FIRST', 'g = -2', 'v DESC NULLS LAST, id NULLS FIRST') AS nulls_the_other_way;
SELECT answers('g, v distance_ops DESC, id', 'g = -2', 'v USING |>|, id') AS scores_by_distance;
SELECT answers('g DESC, v distance_ops, id', 'true', 'g DESC, v USING |<|, id') AS ties_by_distance;

-- What amvalidate finds wrong.
CREATE OPERATOR CLASS unsound_ops FOR TYPE int4 USING topk AS
    OPERATOR 1 |<|, OPERATOR 3 |=|, OPERATOR 5 < (int4, int8),
    FUNCTION 11 (int4, int4) hashvarlenaextended(internal, int8), FUNCTION 12 (int4, int4) topk.headroom(int8);
ALTER OPERATOR FAMILY unsound_ops USING topk ADD FUNCTION 7 (int4, int4) int4abs(int4);
SELECT amvalidate(oid) FROM pg_opclass WHERE opcname = 'unsound_ops';

RESET search_path;
DROP SCHEMA classes CASCADE;
