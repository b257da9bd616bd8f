-- topk.roll_up_step adds natively what it adds by SQL, and leaves to SQL what only SQL does exactly. DEBUG1 tells which it was, and why.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = warning;
CALL t.fill_caches();
CREATE ROLE upsert_owner;
CREATE SCHEMA counters AUTHORIZATION upsert_owner;
GRANT USAGE ON SCHEMA topk TO upsert_owner;
SET search_path = counters, public;
SET SESSION AUTHORIZATION upsert_owner;
SELECT topk.create_counter('n');
SELECT topk.make_partitions('n', '2020-01-01Z', '2020-01-02 02:00Z');
-- Short and long ids, one compressed, one out of line; some of one hour, or day, only, others of two.
CREATE FUNCTION ids(first integer, last integer, step integer DEFAULT 1) RETURNS TABLE (id text, n integer) LANGUAGE sql AS
    $$ SELECT repeat('v', n % 250) || n, n FROM generate_series(first, last, step) n UNION ALL SELECT string_agg(md5(n::text), '') || repeat('long', 2000), 7 FROM generate_series(1, 30) n
       UNION ALL SELECT string_agg(md5(n::text), ''), 8 FROM generate_series(1, 70) n $$;
INSERT INTO n_hour SELECT '2020-01-01 00:00Z', id, n FROM ids(1, 1000);
INSERT INTO n_hour SELECT '2020-01-01 01:00Z', id, n FROM ids(60, 5090, 2);
INSERT INTO n_hour SELECT '2020-01-02 00:00Z', id, n FROM ids(3, 6000, 3);
INSERT INTO n_hour SELECT '2020-01-02 01:00Z', 'few' || n, n FROM generate_series(1, 20) n;
SELECT count(*) FROM n_hour a JOIN n_hour b USING (video_id) WHERE a.window_start = '2020-01-01 00:00Z' AND b.window_start = '2020-01-01 01:00Z';
SELECT count(*) FROM n_hour a JOIN n_hour b USING (video_id) WHERE a.window_start = '2020-01-01 00:00Z' AND b.window_start = '2020-01-02 00:00Z';
SELECT pg_column_size(video_id) < octet_length(video_id) AS compressed, count(*) FROM n_hour WHERE octet_length(video_id) > 2000 GROUP BY 1 ORDER BY 1;
SELECT pg_relation_size(reltoastrelid) > 0 AS out_of_line FROM pg_class WHERE relname = 'n_hour_20200101';
RESET SESSION AUTHORIZATION;
UPDATE topk.counter_data SET sealed_through = '2020-01-03 00:00Z';


-- What is in the roll-ups, against what should be.
CREATE VIEW part AS SELECT 'day' AS span, * FROM n_day_rollup UNION ALL SELECT 'month', * FROM n_month_rollup UNION ALL SELECT 'all_time', * FROM n_all_time_rollup;
CREATE FUNCTION differing() RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM part FULL JOIN (SELECT span, start, video_id, sum(views) AS views FROM n_hour, LATERAL (VALUES ('day', date_trunc('day', window_start)), ('month', '2020-01-01Z'), ('all_time', '-infinity')) w (span, start) GROUP BY 1, 2, 3) e
        ON (part.span, part.window_start, part.video_id) = (e.span, e.start, e.video_id) WHERE part.views IS DISTINCT FROM e.views $$;
-- Steps, or as many until all is in; an error leaves everything as it was.
CREATE PROCEDURE step(rows integer DEFAULT 1000000, steps integer DEFAULT 1) LANGUAGE plpgsql AS $$
DECLARE
    message text; detail text;
BEGIN
    SET LOCAL client_min_messages = debug1;
    FOR n IN 1..steps LOOP
        EXIT WHEN topk.roll_up_step('n', rows) IS NULL;
    END LOOP;
    SET LOCAL client_min_messages = warning;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
    RAISE INFO '% %', SQLSTATE, concat_ws(': ', message, nullif(detail, ''));
END $$;
-- Hours to the day, the day to month and all time.
BEGIN;
CALL step(steps => 1000);
SELECT span, count(*), sum(views) FROM part GROUP BY 1 ORDER BY 1;
SELECT differing();
ROLLBACK;
-- The option: the rows are the same.
SET topk.native_upsert = off;
BEGIN;
CALL step(steps => 1000);
SELECT span, count(*), sum(views) FROM part GROUP BY 1 ORDER BY 1;
SELECT differing();
ROLLBACK;
RESET topk.native_upsert;
-- In steps, one by one up to some tens of rows, some of them by SQL.
BEGIN;
CALL step(20);
CALL step(200);
SET LOCAL topk.native_upsert = off;
CALL step(2000);
SET LOCAL topk.native_upsert = on;
SET LOCAL client_min_messages = error;
DO $$ BEGIN WHILE topk.roll_up_step('n', 999) IS NOT NULL LOOP END LOOP; END $$;
SELECT differing();
CREATE EXTENSION amcheck SCHEMA public;
SELECT bt_index_check(indexrelid, true), topk.index_check(replace(indexrelid::regclass::text, '_pkey', '_window_start_views_video_id_idx')::regclass) IS NOT NULL AS checked
    FROM pg_index WHERE indisprimary AND indrelid = ANY ('{n_day_rollup,n_month_rollup,n_all_time_rollup}'::regclass[]);
ROLLBACK;

-- Triggers; a check; a row that the source's constraints let through, ours do not; rights of the owner.
CREATE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE INFO 'trigger % %', TG_NAME, TG_LEVEL; RETURN NEW; END $$;
BEGIN;
CREATE TRIGGER statement AFTER INSERT ON n_day_rollup EXECUTE FUNCTION raise();
CALL step(10);
ROLLBACK;
BEGIN;
ALTER TABLE n_day_rollup ADD CONSTRAINT few CHECK (views < 50);
CALL step();
ROLLBACK;
BEGIN;
ALTER TABLE n_hour DROP CONSTRAINT n_hour_views_check;
UPDATE n_hour SET views = -5 WHERE video_id = 'v1';
CALL step();
ALTER TABLE n_hour ALTER views DROP NOT NULL;
UPDATE n_hour SET views = NULL WHERE video_id = 'v1';
CALL step();
ROLLBACK;
BEGIN;
REVOKE UPDATE ON n_day_rollup FROM upsert_owner;
CALL step();
ROLLBACK;
-- Columns of other types, which the views and the topk index do not survive.
BEGIN;
CALL step(1);
SET LOCAL client_min_messages = error;
DROP VIEW n_day, n_month, n_all_time;
DROP INDEX n_hour_window_start_views_video_id_idx;
SAVEPOINT s;
ALTER TABLE n_hour ALTER views TYPE numeric;
CALL step(steps => 1000);
SELECT differing();
ROLLBACK TO s;
DELETE FROM n_hour WHERE octet_length(video_id) > 63;
ALTER TABLE n_hour ALTER video_id TYPE name;
CALL step(steps => 1000);
SELECT differing();
ROLLBACK TO s;
DELETE FROM n_hour;
INSERT INTO n_hour VALUES ('2020-01-01 00:00Z', 'x', 1);
ALTER TABLE n_hour ALTER video_id TYPE "char";
SELECT topk.roll_up_step('n');
SELECT * FROM n_day_rollup;
ROLLBACK;
-- A step ends before it has more subtransactions than a backend shows, or after two seconds: 50 hours of 40 rows; few rows take none.
BEGIN;
SET LOCAL client_min_messages = error;
SELECT topk.make_partitions('n', '2020-01-03Z', '2020-01-08Z');
DELETE FROM n_hour;
INSERT INTO n_hour SELECT h, 'v' || n, n FROM generate_series('2020-01-03Z'::timestamptz, '2020-01-05 01:00Z', '1 hour') h, generate_series(1, 40) n;
INSERT INTO n_hour SELECT h, 'v' || n, n FROM generate_series('2020-01-05 02:00Z'::timestamptz, '2020-01-07 20:00Z', '1 hour') h, generate_series(1, 32) n;
UPDATE topk.counter_data SET sealed_through = '2020-01-08Z';
SELECT topk.roll_up_step('n', 1000000) <= 48 * 40 AS ended;
SELECT topk.roll_up_step('n', 1000000) > 2 * 40 + 46 * 32 AS went_on;
ROLLBACK;
-- Attached to a table of the user's, whose bounds a row must be within.
BEGIN;
CREATE TABLE days (LIKE n_day_rollup INCLUDING ALL) PARTITION BY RANGE (window_start);
ALTER TABLE days ATTACH PARTITION n_day_rollup FOR VALUES FROM ('2019-01-01Z') TO ('2020-01-01Z');
CALL step();
ROLLBACK;
BEGIN;
ALTER TABLE n_day_rollup ADD COLUMN region text DEFAULT 'everywhere';
CALL step(10);
SELECT DISTINCT region FROM n_day_rollup;
ROLLBACK;
-- A sum beyond bigint: natively, and by SQL.
BEGIN;
INSERT INTO n_day_rollup VALUES ('2020-01-01Z', 'v1', 9223372036854775807);
CALL step();
SET LOCAL topk.native_upsert = off;
CALL step();
SELECT t.error($$SELECT topk.roll_up_step('n')$$);
SELECT count(*) FROM part;
ROLLBACK;

DROP FUNCTION raise, differing, ids;
DROP PROCEDURE step;
DROP VIEW part;
SELECT topk.drop_counter('n');
DROP SCHEMA counters;
REVOKE ALL ON SCHEMA topk FROM upsert_owner;
DROP ROLE upsert_owner;
