-- An owner of a counter's tables can attach code to them: it never runs with the rights of who reads, feeds or made the extension.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = warning;
CREATE ROLE regress_topk_mallory;
CREATE SCHEMA m AUTHORIZATION regress_topk_mallory;
GRANT USAGE ON SCHEMA m TO PUBLIC;
SET ROLE regress_topk_mallory;
SET search_path = m, public;
CREATE FUNCTION m.look() RETURNS boolean LANGUAGE plpgsql VOLATILE AS
    $$ BEGIN IF current_user <> 'regress_topk_mallory' THEN RAISE EXCEPTION 'ran as another'; END IF; RETURN true; END $$;
CREATE FUNCTION m.evil(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN m.look(); END $$;
SELECT topk.create_counter('e');
SELECT topk.create_counter('f');

-- Tables that create_counter would not make are refused; what their partition key calls is not run by looking.
CREATE TABLE m.key_hour (window_start timestamptz NOT NULL, video_id text COLLATE "C" NOT NULL, views bigint NOT NULL)
    PARTITION BY RANGE ((CASE WHEN m.evil(1) THEN window_start ELSE window_start END));
CREATE TABLE m.list_hour (window_start timestamptz, video_id text COLLATE "C", views bigint NOT NULL, PRIMARY KEY (window_start, video_id)) PARTITION BY LIST (window_start);
CREATE TABLE m.text_hour (window_start timestamptz, video_id text COLLATE "C", views bigint NOT NULL, PRIMARY KEY (window_start, video_id)) PARTITION BY RANGE (video_id);
CREATE TABLE m.two_hour (window_start timestamptz, video_id text COLLATE "C", views bigint NOT NULL, PRIMARY KEY (window_start, video_id)) PARTITION BY RANGE (window_start, video_id);
CREATE TABLE m.collation_hour (window_start timestamptz, video_id text, views bigint NOT NULL, PRIMARY KEY (window_start, video_id)) PARTITION BY RANGE (window_start);
CREATE TABLE m.type_hour (window_start timestamptz, video_id text COLLATE "C", views numeric NOT NULL, PRIMARY KEY (window_start, video_id)) PARTITION BY RANGE (window_start);
CREATE TABLE m.more_hour (window_start timestamptz, video_id text COLLATE "C", views bigint NOT NULL, more int, PRIMARY KEY (window_start, video_id)) PARTITION BY RANGE (window_start);
CREATE TABLE m.alone_hour (window_start timestamptz, video_id text COLLATE "C", views bigint NOT NULL, PRIMARY KEY (window_start, video_id)) PARTITION BY RANGE (window_start);
CREATE TABLE m.plain_hour (window_start timestamptz, video_id text COLLATE "C", views bigint NOT NULL, PRIMARY KEY (window_start, video_id));
RESET ROLE;
SELECT c, t.error(format('SELECT topk.register_counter(%L, %L, %L, %L, %L, %L, %L)', c, 'm.' || c || '_hour', 'UTC', '1 s', '1 s', '1 s', '1 s'))
    FROM unnest('{key,list,text,two,collation,type,more,alone,plain}'::text[]) c;

-- Even if such a table got into the registry: its key is built with its owner's rights, and other kinds are errors.
SELECT partition FROM topk.claim('e', 'events', 'c', 'g', 'm', 1, '{0}', '{0}', '{9}');
UPDATE topk.counter_data SET hour_table = 'm.key_hour' WHERE name = 'e';
\c -
SET search_path = m, public;
SELECT status FROM topk.claim('e', 'events', 'c', 'g', 'm', 1, '{0}', '{0}', '{9}', '{1}');
SELECT split_part(t.error($$SELECT topk.flush('e', 'events', t.deltas(t.hour('2020-01-01Z', t.entry('a', 1))), NULL, NULL, ARRAY[t.advance(0, 1, 0, 1)])$$), E'\n', 1);
\c -
SET search_path = m, public;
SELECT * FROM topk('hour', 1, '2020-01-01Z', 'e');
SELECT status FROM topk.claim('e', 'events', 'c', 'g', 'm', 1, '{0}', '{0}', '{9}', '{1}');
UPDATE topk.counter_data SET hour_table = 'm.list_hour' WHERE name = 'e';
SELECT t.error($$SELECT topk.flush('e', 'events', t.deltas(t.hour('2020-01-01Z', t.entry('a', 1))), NULL, NULL, ARRAY[t.advance(0, 1, 0, 1)])$$);
UPDATE topk.counter_data SET hour_table = 'm.text_hour' WHERE name = 'e';
SELECT t.error($$SELECT topk.flush('e', 'events', t.deltas(t.hour('2020-01-01Z', t.entry('a', 1))), NULL, NULL, ARRAY[t.advance(0, 1, 0, 1)])$$);
UPDATE topk.counter_data SET hour_table = 'm.e_hour' WHERE name = 'e';

-- Another relation of the name of one of the counter's is not read, and what is attached to one runs as its owner.
SET ROLE regress_topk_mallory;
ALTER TABLE m.e_late RENAME TO aside;
CREATE VIEW m.e_late AS SELECT 'all_time'::text AS span, '-infinity'::timestamptz AS window_start, 'evil'::text AS video_id, 1::bigint AS views WHERE m.look();
CREATE INDEX ON m.e_all_time_rollup ((m.evil(1)));
RESET ROLE;
SELECT topk.flush('e', 'events', t.deltas(t.hour('2020-01-01Z', t.entry('a', 1))), ARRAY[ROW('2020-01-02Z', 'late', 1, 1)]::topk.flush_late[], NULL, ARRAY[t.advance(0, 1, 0, 1)]);
\c -
SET search_path = m, public;
SELECT * FROM topk('all_time', counter => 'e');
-- Nor does a hour table that moved on its own take the others' names along.
CREATE SCHEMA aside AUTHORIZATION regress_topk_mallory;
SET ROLE regress_topk_mallory;
ALTER TABLE m.e_hour SET SCHEMA aside;
RESET ROLE;
SELECT * FROM topk('all_time', counter => 'e');
-- Where row-level security applies to the reader, the list is of the rows it shows: none of the hours here. It is read as the reader, and as
-- in any SELECT on a table of mallory's what is attached to it would run so: without the index.
SET ROLE regress_topk_mallory;
DROP INDEX m.e_all_time_rollup_evil_idx;
ALTER TABLE aside.e_hour ENABLE ROW LEVEL SECURITY;
SELECT topk.grant_access('pg_monitor', 'read', 'e');
GRANT USAGE ON SCHEMA aside TO PUBLIC;
SET ROLE pg_monitor;
SELECT * FROM topk('all_time', counter => 'e');

-- A trigger cannot flush while a flush runs (here it renamed a table before, which frees plans), nor claim what is being flushed.
SET ROLE regress_topk_mallory;
SELECT partition FROM topk.claim('f', 'events', 'c', 'g', 'm', 2, '{0,1}', '{0,0}', '{9,9}');
CREATE FUNCTION m.again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    ALTER TABLE m.f_late RENAME TO f_late_too;
    PERFORM topk.flush('f', 'events', '\x01', ARRAY[ROW('2020-01-01Z', 'late', 1, 1)::topk.flush_late], NULL, ARRAY[ROW(1, 1, 0, 1, 0, 0, 0, NULL, 1, 0, 0, 0)::topk.flush_progress]);
    RETURN NEW; END $$;
CREATE TRIGGER again BEFORE INSERT ON m.f_hour FOR EACH ROW EXECUTE FUNCTION m.again();
SELECT t.error($$SELECT topk.flush('f', 'events', t.deltas(t.hour('2020-01-01Z', t.entry('a', 1), t.entry('b', 1))), NULL, NULL, ARRAY[t.advance(0, 1, 0, 1)])$$);
CREATE OR REPLACE FUNCTION m.again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM topk.claim('f', 'events', 'c', 'g', 'm', 2, '{0}', '{0}', '{9}');
    RETURN NEW; END $$;
SELECT t.error($$SELECT topk.flush('f', 'events', t.deltas(t.hour('2020-01-01Z', t.entry('a', 1))), NULL, NULL, ARRAY[t.advance(0, 1, 0, 1)])$$);
DROP TRIGGER again ON m.f_hour;
SELECT topk.flush('f', 'events', t.deltas(t.hour('2020-01-01Z', t.entry('a', 1))), NULL, NULL, ARRAY[t.advance(0, 1, 0, 1)]);

-- Nor does what an index of the hour's is for run by looking whether it serves: more rows are asked for than the topk index has.
INSERT INTO m.f_hour SELECT '2020-01-01Z', 'v' || n, n FROM generate_series(1, 12000) n;
CREATE INDEX ON m.f_hour_20200101 (window_start) WHERE m.evil(1);
CREATE INDEX few ON m.f_hour_20200101 USING topk (window_start, views DESC, video_id) WITH (k = 1);
-- Made anew, the others are looked at after those.
REINDEX INDEX CONCURRENTLY m.f_hour_20200101_pkey;
REINDEX INDEX CONCURRENTLY m.f_hour_20200101_window_start_views_video_id_idx;
RESET ROLE;
\c -
SET search_path = m, public; SET timezone = 'UTC';
SELECT count(*), min(views), max(views) FROM topk('hour', 1000, '2020-01-01Z', 'f');
DROP INDEX m.few, m.f_hour_20200101_window_start_idx;

SET client_min_messages = error;
SELECT topk.drop_counter('f');
DROP SCHEMA m, aside CASCADE;
SELECT topk.drop_counter('e');
DROP ROLE regress_topk_mallory;
