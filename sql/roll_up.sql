-- topk.roll_up: hours to days, days to months and all time, in steps between which every view is exact. Corrections of what is rolled up.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = warning;
SELECT topk.create_counter();
SELECT partition FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{100}');
SELECT topk.flush('video_views', 'events', t.deltas(
        t.hour('2020-01-30 23:00Z', t.entry('a', 1), t.entry('b', 2)),
        t.hour('2020-01-31 00:00Z', t.entry('a', 4), t.entry('c', 8), t.entry('é', 16)),
        t.hour('2020-01-31 23:00Z', t.entry('a', 32)),
        t.hour('2020-02-01 00:00Z', t.entry('a', 64), t.entry('b', 128)),
        t.hour('2020-02-03 05:00Z', t.entry('d', 256))),
    NULL, NULL, ARRAY[t.advance(0, 1, 0, 11)]);
UPDATE topk.counter_data SET sealed_through = '2020-01-31 00:00Z';
SELECT topk.flush('video_views', 'events', t.deltas(), ARRAY[ROW('2020-01-30 23:00Z', 'late', 3, 1), ROW('2020-01-30 22:00Z', 'a', 5, 1)]::topk.flush_late[], NULL,
    ARRAY[ROW(0, 1, 11, 13, 12, 1, 1, NULL, 0, 2, 0, 0)]::topk.flush_progress[]);
-- What the views must say, from the hours and the late additions alone; and where they do not.
CREATE FUNCTION differing(counter text DEFAULT 'video_views') RETURNS TABLE (span text, window_start timestamptz, video_id text, expected numeric, found numeric) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format('WITH part AS (
            SELECT w.span, w.window_start, h.video_id, h.views FROM %1$I h JOIN topk.hour_map m ON m.counter = %5$L AND m.hour_start = h.window_start,
                LATERAL (VALUES (''day'', m.day_start), (''month'', m.month_start), (''all_time'', ''-infinity'')) w (span, window_start)
            UNION ALL SELECT * FROM %6$I),
        truth AS (SELECT p.span, p.window_start, p.video_id, sum(p.views) AS views FROM part p GROUP BY 1, 2, 3),
        told AS (SELECT ''day'' AS span, * FROM %2$I UNION ALL SELECT ''month'', * FROM %3$I UNION ALL SELECT ''all_time'', * FROM %4$I)
        SELECT span, window_start, video_id, t.views, o.views::numeric FROM truth t FULL JOIN told o USING (span, window_start, video_id)
        WHERE t.views IS DISTINCT FROM o.views', counter || '_hour', counter || '_day', counter || '_month', counter || '_all_time', counter, counter || '_late');
END $$;
CREATE VIEW marker AS SELECT span, window_start, video_id FROM topk.roll_up_marker WHERE counter = 'video_views' ORDER BY array_position('{day,month,all_time}', span);
CREATE VIEW wrong AS SELECT check_name, subject, expected, found FROM topk.audit() WHERE NOT ok AND subject IS NOT NULL;
CREATE VIEW rolled_up AS SELECT 'day' AS span, * FROM video_views_day_rollup UNION ALL SELECT 'month', * FROM video_views_month_rollup UNION ALL SELECT 'all_time', * FROM video_views_all_time_rollup;
SELECT * FROM marker;

-- A row at a time, of what is sealed: one hour. NULL when there is no more. Hours without rows are passed.
UPDATE topk.counter_data SET sealed_through = '-infinity';
SELECT topk.roll_up_step('video_views');
UPDATE topk.counter_data SET sealed_through = '2020-01-31 00:00Z';
SELECT topk.roll_up_step('video_views', 1) AS rows, m.* FROM marker m WHERE span = 'day';
SELECT * FROM marker WHERE span = 'day';
SELECT topk.roll_up_step('video_views', 1);
SELECT * FROM marker WHERE span = 'day';
SELECT * FROM rolled_up ORDER BY span, window_start, video_id;
SELECT count(*) FROM differing();
SELECT * FROM wrong;
SELECT topk.roll_up_step('video_views', 1);
SELECT topk.roll_up_step('video_views', 1);
SELECT * FROM marker;
SELECT span, window_start, rolled_up FROM topk.time_window WHERE span <> 'hour' OR window_start >= '2020-01-30 22:00Z' AND window_start < '2020-01-31 01:00Z' ORDER BY array_position('{hour,day,month,all_time}', span), window_start;

-- Then the day, to month and to all time, each with a marker of its own; NULL at last.
SELECT topk.roll_up_step('video_views', 1);
SELECT * FROM marker;
SELECT * FROM wrong;
SELECT count(*) FROM differing();
SELECT topk.roll_up_step('video_views'), topk.roll_up_step('video_views'), topk.roll_up_step('video_views');
SELECT * FROM marker;
SELECT * FROM rolled_up ORDER BY span, window_start, video_id;
SELECT span, window_start, rolled_up FROM topk.time_window WHERE span <> 'hour' OR window_start = '2020-01-30 23:00Z' ORDER BY array_position('{hour,day,month,all_time}', span), window_start;

-- Two days more, and a little of the next; all at once. A day without a partition lies between; the frontier is far ahead of the hours.
UPDATE topk.counter_data SET sealed_through = '2020-02-01 02:00Z';
CALL topk.roll_up();
SELECT * FROM marker;
SELECT * FROM rolled_up ORDER BY span, window_start, video_id;
SELECT count(*) FROM differing();
SELECT check_name, expected, found, ok, detail FROM topk.audit() WHERE check_name LIKE '%roll-up';
SELECT span, window_start, sealed, rolled_up FROM topk.time_window WHERE span <> 'hour' ORDER BY array_position('{day,month,all_time}', span), window_start;
UPDATE topk.counter_data SET sealed_through = '9000-01-01 00:00Z';
CALL topk.roll_up('video_views');
SELECT * FROM marker;
SELECT span, window_start, rolled_up FROM topk.time_window WHERE span <> 'hour' AND NOT rolled_up;
SELECT topk.roll_up_step('video_views');
SELECT * FROM video_views_month ORDER BY window_start, video_id;
SELECT * FROM video_views_all_time ORDER BY video_id;
SELECT count(*) FROM differing();
SELECT * FROM wrong;

-- A correction changes every roll-up that has the row: up, down to zero, a new video, and a day that had no partition. Revisions count.
SELECT topk.correct('video_views', '2020-01-31 00:00Z', 'a', 10, 'r'), topk.correct('video_views', '2020-01-31 00:00Z', 'c', -8, 'r'),
    topk.correct('video_views', '2020-01-30 23:00Z', 'b', -1, 'r'), topk.correct('video_views', '2020-02-03 05:00Z', 'new', 7, 'r'),
    topk.correct('video_views', '2020-02-02 05:00Z', 'a', 1000, 'r'), topk.correct('video_views', '2019-02-02 05:00Z', 'a', 2000, 'r');
SELECT * FROM rolled_up ORDER BY span, window_start, video_id;
SELECT count(*) FROM differing();
SELECT * FROM wrong;
-- Of an hour beyond the marker it changes the hour alone, which then is rolled up.
SELECT topk.correct('video_views', '2020-03-01 05:00Z', 'a', 5, 'r');
SELECT count(*) FROM rolled_up WHERE window_start = '2020-03-01';
SELECT topk.roll_up_step('video_views', 2), topk.roll_up_step('video_views', 2), topk.roll_up_step('video_views', 2);
SELECT * FROM rolled_up WHERE window_start >= '2020-03-01' ORDER BY span;
SELECT count(*) FROM differing();
-- Of the hour that is at hand: up to the marker, and beyond it. The same of the day.
SELECT topk.correct('video_views', '2020-04-01 05:00Z', v, 1, 'r') FROM unnest('{b,d,f}'::text[]) v;
SELECT topk.roll_up_step('video_views', 2);
SELECT * FROM marker WHERE span = 'day';
SELECT topk.correct('video_views', '2020-04-01 05:00Z', v, 10, 'r') FROM unnest('{a,b,c,d,e,f,g}'::text[]) v;
SELECT * FROM rolled_up WHERE window_start = '2020-04-01' ORDER BY video_id;
SELECT count(*) FROM differing();
SELECT * FROM wrong;
SELECT topk.roll_up_step('video_views'), topk.roll_up_step('video_views', 3);
SELECT * FROM marker;
SELECT topk.correct('video_views', '2020-04-01 05:00Z', v, -10, 'r') FROM unnest('{a,b,c,d,e,f,g}'::text[]) v;
SELECT * FROM rolled_up WHERE window_start = '2020-04-01' ORDER BY span, video_id;
SELECT count(*) FROM differing();
SELECT * FROM wrong;
CALL topk.roll_up();
SELECT * FROM rolled_up WHERE window_start = '2020-04-01' ORDER BY span, video_id;
SELECT count(*) FROM differing();

-- The audit names the roll-up that was changed by hand, alone.
BEGIN; UPDATE video_views_day_rollup SET views = views + 1 WHERE window_start = '2020-02-01' AND video_id = 'a'; SELECT * FROM wrong; ROLLBACK;
BEGIN; DELETE FROM video_views_month_rollup WHERE window_start = '2020-02-01' AND video_id = 'd'; SELECT * FROM wrong; ROLLBACK;
BEGIN; INSERT INTO video_views_all_time_rollup VALUES ('-infinity', 'z', 9); SELECT * FROM wrong; ROLLBACK;
BEGIN; INSERT INTO video_views_day_rollup VALUES ('2021-01-01', 'z', 9); SELECT * FROM wrong; ROLLBACK;
-- A marker set back, for which rows would be taken twice, or forward.
BEGIN; UPDATE topk.roll_up_marker SET window_start = '2020-02-03 05:00Z' WHERE span = 'day'; SELECT * FROM wrong; ROLLBACK;
BEGIN; UPDATE topk.roll_up_marker SET window_start = '2020-02-01' WHERE span = 'month'; SELECT * FROM wrong; ROLLBACK;
-- An hour changed behind the roll-up's back is the hour's.
BEGIN; UPDATE video_views_hour SET views = views + 1 WHERE window_start = '2020-02-01 00:00Z' AND video_id = 'a'; SELECT * FROM wrong; ROLLBACK;
-- Once hours have expired, their sums are the days', and then the months'. They cannot be corrected.
BEGIN;
UPDATE topk.counter_data SET hours_expired_through = '2020-02-01 00:00Z';
DROP TABLE video_views_hour_20200131, video_views_hour_20200130;
SELECT * FROM wrong;
SELECT t.error($$SELECT topk.correct('video_views', '2020-01-31 00:00Z', 'a', 1, 'r')$$);
SELECT topk.correct('video_views', '2020-02-01 00:00Z', 'a', 1, 'r');
UPDATE topk.counter_data SET days_expired_through = '2020-01-31 00:00Z';
DELETE FROM video_views_day_rollup WHERE window_start < '2020-01-31';
SELECT * FROM wrong;
DELETE FROM video_views_day_rollup WHERE window_start = '2020-01-31';
SELECT * FROM wrong;
ROLLBACK;

-- An hour whose partition somebody dropped holds nothing any more: it is passed.
BEGIN;
SELECT topk.correct('video_views', '2020-05-01 05:00Z', 'a', 5, 'r'), topk.correct('video_views', '2020-05-02 05:00Z', 'a', 5, 'r');
DROP TABLE video_views_hour_20200501;
SELECT topk.roll_up_step('video_views');
SELECT * FROM marker WHERE span = 'day';
SELECT * FROM rolled_up WHERE window_start >= '2020-05-01';
ROLLBACK;

-- Refused: arguments, rights, isolation, a transaction around the steps.
SELECT t.error($$SELECT topk.roll_up_step('video_views', 0)$$);
SELECT t.error($$SELECT topk.roll_up_step('video_views', NULL)$$);
SELECT t.error($$SELECT topk.roll_up_step(NULL)$$);
SELECT t.error($$SELECT topk.roll_up_step('no such')$$);
CALL topk.roll_up('no such');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT t.error($$SELECT topk.roll_up_step('video_views')$$);
ROLLBACK;
CREATE ROLE regress_rollup_read; CREATE ROLE regress_rollup_ingest; CREATE ROLE regress_rollup_admin;
SELECT topk.grant_access('regress_rollup_read', 'read'), topk.grant_access('regress_rollup_ingest', 'ingest'), topk.grant_access('regress_rollup_admin', 'admin');
SET ROLE regress_rollup_read;
SELECT t.error($$SELECT topk.roll_up_step('video_views')$$);
SET ROLE regress_rollup_ingest;
SELECT t.error($$SELECT topk.roll_up_step('video_views')$$);
SET ROLE regress_rollup_admin;
SELECT topk.roll_up_step('video_views');
RESET ROLE;
-- An admin rolls up with the owner's rights; a new hour again, now by the procedure.
SELECT topk.correct('video_views', '2020-06-01 05:00Z', 'a', 5, 'r');
SET ROLE regress_rollup_admin;
CALL topk.roll_up();
RESET ROLE;
SELECT * FROM rolled_up WHERE window_start >= '2020-06-01' ORDER BY span;

-- What does not fit is refused, naming the video; what is not stored is found out; row security that hides rows from their owner is refused.
BEGIN;
SELECT topk.correct('video_views', '2020-07-01 05:00Z', 'huge', 9223372036854775807, 'r'), topk.correct('video_views', '2020-07-01 06:00Z', 'huge', 1, 'r');
SELECT t.error($$SELECT topk.roll_up_step('video_views')$$);
ROLLBACK;
BEGIN;
SELECT topk.correct('video_views', '2020-07-01 05:00Z', 'huge', 9223372036854775807, 'r');
SELECT topk.roll_up_step('video_views'), topk.roll_up_step('video_views');
SELECT t.error($$SELECT topk.correct('video_views', '2020-07-01 06:00Z', 'huge', 1, 'r')$$);
ROLLBACK;
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
BEGIN;
CREATE TRIGGER meddle BEFORE INSERT ON video_views_day_rollup FOR EACH ROW EXECUTE FUNCTION meddle();
SELECT topk.correct('video_views', '2020-07-01 05:00Z', 'a', 1, 'r');
SELECT t.error($$SELECT topk.roll_up_step('video_views')$$);
ROLLBACK;
BEGIN;
CREATE TRIGGER meddle BEFORE UPDATE ON video_views_month_rollup FOR EACH ROW EXECUTE FUNCTION meddle();
SELECT t.error($$SELECT topk.correct('video_views', '2020-01-31 00:00Z', 'a', 1, 'r')$$);
ROLLBACK;
BEGIN;
UPDATE video_views_day_rollup SET views = 1 WHERE window_start = '2020-01-31' AND video_id = 'a';
SELECT t.error($$SELECT topk.correct('video_views', '2020-01-31 00:00Z', 'a', -2, 'r')$$);
ROLLBACK;
-- A correction amid a step would change the hour after the step has read it, and a step amid a correction would read it before.
CREATE OR REPLACE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN EXECUTE TG_ARGV[0]; RETURN NEW; END $$;
BEGIN;
SELECT topk.correct('video_views', '2020-07-01 05:00Z', 'a', 1, 'r');
CREATE TRIGGER meddle BEFORE INSERT ON video_views_day_rollup FOR EACH ROW EXECUTE FUNCTION meddle($$SELECT topk.correct('video_views', '2020-07-01 05:00Z', 'a', 1, 'r')$$);
SELECT t.error($$SELECT topk.roll_up_step('video_views')$$);
DROP TRIGGER meddle ON video_views_day_rollup;
CREATE TRIGGER meddle BEFORE UPDATE ON video_views_hour FOR EACH ROW EXECUTE FUNCTION meddle($$SELECT topk.roll_up_step('video_views')$$);
SELECT t.error($$SELECT topk.correct('video_views', '2020-07-01 05:00Z', 'a', 1, 'r')$$);
DROP TRIGGER meddle ON video_views_hour;
SELECT topk.roll_up_step('video_views'), topk.correct('video_views', '2020-07-01 05:00Z', 'a', 1, 'r');
SELECT count(*) FROM differing();
ROLLBACK;
DROP FUNCTION meddle;
BEGIN;
ALTER TABLE video_views_day_rollup ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE ROLE regress_rollup_owner;
GRANT USAGE, CREATE ON SCHEMA public TO regress_rollup_owner;
DO $$ DECLARE r text; BEGIN FOREACH r IN ARRAY '{hour,late,day_rollup,month_rollup,all_time_rollup}'::text[] LOOP EXECUTE format('ALTER TABLE video_views_%s OWNER TO regress_rollup_owner', r); END LOOP; END $$;
SELECT t.error($$SELECT topk.roll_up_step('video_views')$$);
ROLLBACK;

-- Days of 25 and 23 hours, hours off the hour; the day ends where the place says.
SELECT topk.create_counter('berlin', 'Europe/Berlin'), topk.create_counter('kathmandu', 'Asia/Kathmandu');
SELECT count(topk.correct('berlin', h, 'a', 1, 'r')) FROM generate_series('2020-10-24 20:00Z'::timestamptz, '2020-10-26 01:00Z', '1 hour') h;
SELECT count(topk.correct('berlin', h, 'a', 1, 'r')) FROM generate_series('2020-03-28 20:00Z'::timestamptz, '2020-03-30 01:00Z', '1 hour') h;
SELECT count(topk.correct('kathmandu', h, 'a', 1, 'r')) FROM generate_series('2020-01-31 16:15Z'::timestamptz, '2020-01-31 20:15Z', '1 hour') h;
UPDATE topk.counter_data SET sealed_through = '2020-10-25 22:00Z' WHERE name = 'berlin';
UPDATE topk.counter_data SET sealed_through = '2020-01-31 18:15Z' WHERE name = 'kathmandu';
CALL topk.roll_up('berlin');
CALL topk.roll_up('kathmandu');
SELECT * FROM berlin_day_rollup ORDER BY 1;
SELECT * FROM berlin_month_rollup ORDER BY 1;
SELECT window_start, rolled_up FROM topk.time_window WHERE counter = 'berlin' AND span = 'day' ORDER BY 1;
SELECT * FROM kathmandu_day_rollup;
SELECT * FROM kathmandu_month_rollup;
UPDATE topk.counter_data SET sealed_through = '2020-10-25 23:00Z' WHERE name = 'berlin';
CALL topk.roll_up('berlin');
SELECT * FROM berlin_month_rollup ORDER BY 1;
SELECT count(*) FROM differing('berlin');
SELECT count(*) FROM differing('kathmandu');
SELECT check_name, subject FROM topk.audit('berlin') WHERE NOT ok;
-- The map may give a day another hour after it was taken, if the time zone data change: that hour goes to month and all time as well.
INSERT INTO topk.hour_map VALUES ('berlin', '2020-10-26 22:00Z', '2020-10-26 23:00Z', '2020-10-24 22:00Z', '2020-09-30 22:00Z')
    ON CONFLICT (counter, hour_start) DO UPDATE SET day_start = excluded.day_start;
INSERT INTO berlin_hour VALUES ('2020-10-26 22:00Z', 'a', 100), ('2020-10-26 22:00Z', 'b', 200);
UPDATE topk.counter_data SET sealed_through = '2020-11-01 23:00Z' WHERE name = 'berlin';
CALL topk.roll_up('berlin');
SELECT * FROM berlin_day_rollup WHERE window_start = '2020-10-24 22:00Z' ORDER BY video_id;
SELECT * FROM berlin_month_rollup WHERE window_start = '2020-09-30 22:00Z' ORDER BY video_id;
SELECT count(*) FROM differing('berlin');

-- One video is looked up by primary keys, and hours up to the marker are not looked into. Scans of tables: index, and whether any was made.
CREATE FUNCTION scans(query text) RETURNS TABLE (made boolean, node text, index text, by_video boolean) LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, FORMAT JSON) ' || query INTO plan;
    RETURN QUERY SELECT DISTINCT (n ->> 'Actual Loops')::int > 0, n ->> 'Node Type', coalesce(n ->> 'Index Name', n ->> 'Relation Name'), n ->> 'Index Cond' LIKE '%video_id = %'
        FROM jsonb_path_query(plan::jsonb, 'strict $.** ? (exists (@."Relation Name"))') n WHERE n ->> 'Relation Name' NOT IN ('hour_map', 'roll_up_marker', 'counter_data') ORDER BY 1, 3;
END $$;
SELECT topk.correct('video_views', h, 'v' || n, n, 'r') IS NOT NULL AS done FROM (VALUES ('2020-08-01 05:00Z'::timestamptz), ('2020-08-02 05:00Z'), ('2020-08-03 05:00Z')) d (h), generate_series(1, 300) n GROUP BY 1;
UPDATE topk.counter_data SET sealed_through = '2020-08-02 06:00Z';
CALL topk.roll_up();
VACUUM ANALYZE video_views_hour; VACUUM ANALYZE video_views_day_rollup; VACUUM ANALYZE video_views_month_rollup; VACUUM ANALYZE video_views_all_time_rollup; ANALYZE topk.hour_map; ANALYZE topk.roll_up_marker;
SET enable_seqscan = off; SET enable_bitmapscan = off;
SELECT * FROM scans($$SELECT views FROM video_views_day WHERE window_start = '2020-08-02' AND video_id = 'v7'$$);
SELECT * FROM scans($$SELECT views FROM video_views_month WHERE window_start = '2020-08-01' AND video_id = 'v7'$$) WHERE made;
SELECT * FROM scans($$SELECT views FROM video_views_all_time WHERE video_id = 'v7'$$) WHERE made;
RESET enable_seqscan; RESET enable_bitmapscan;
SELECT video_id, views FROM video_views_month WHERE window_start = '2020-08-01' AND video_id = 'v7';

DROP VIEW marker, wrong, rolled_up;
SELECT topk.drop_counter(name) FROM topk.counter;
SELECT count(*) FROM topk.roll_up_marker;
DROP ROLE regress_rollup_read, regress_rollup_ingest, regress_rollup_admin;

-- A counter made by version 1.0: its views are replaced with the first step, and keep their rights and options.
BEGIN;
DROP EXTENSION topk CASCADE;
CREATE EXTENSION topk VERSION '1.0';
SELECT topk.create_counter('old');
SELECT count(topk.correct('old', h, 'a', 1, 'r')) FROM generate_series('2020-01-30 20:00Z'::timestamptz, '2020-02-01 01:00Z', '1 hour') h;
GRANT SELECT ON old_day TO PUBLIC;
ALTER VIEW old_day SET (security_barrier = true);
SELECT pg_get_viewdef('old_day') AS before \gset
SELECT oid, prosrc INTO TEMP before FROM pg_proc WHERE pronamespace = 'topk'::regnamespace OR proname = 'topk';
ALTER EXTENSION topk UPDATE TO '1.1';
-- The old library, which sessions may have loaded, cannot be asked what is rolled up, for it does not know.
SELECT oid::regproc AS function, b.prosrc, p.prosrc FROM before b JOIN pg_proc p USING (oid) WHERE p.prosrc <> b.prosrc AND p.prosrc NOT LIKE '%;%' ORDER BY oid::regproc::text COLLATE "C";
SELECT topk.correct('old', '2020-01-30 20:00Z', 'a', 1, 'r');
UPDATE topk.counter_data SET sealed_through = '2020-02-01 00:00Z';
-- Not a materialized view that somebody put there, nor somebody else's view.
SAVEPOINT as_they_were;
DROP VIEW old_month;
CREATE MATERIALIZED VIEW old_month AS SELECT 1;
SELECT t.error($$SELECT topk.roll_up_step('old')$$);
DROP MATERIALIZED VIEW old_month;
SELECT topk.roll_up_step('old');
ROLLBACK TO as_they_were;
CREATE ROLE regress_rollup_owner;
ALTER VIEW old_all_time OWNER TO regress_rollup_owner;
SELECT t.error($$SELECT topk.roll_up_step('old')$$);
ROLLBACK TO as_they_were;
-- A step replaces them, the next ones roll up.
SELECT topk.roll_up_step('old');
SELECT count(*) FROM topk.roll_up_marker WHERE window_start > '-infinity';
SELECT topk.roll_up_step('old', 20), topk.roll_up_step('old'), topk.roll_up_step('old'), topk.roll_up_step('old'), topk.roll_up_step('old');
SELECT span, window_start, video_id FROM topk.roll_up_marker ORDER BY 1;
SELECT * FROM old_day ORDER BY 1;
SELECT * FROM old_month ORDER BY 1;
SELECT * FROM old_all_time;
SELECT count(*) FROM differing('old');
SELECT pg_get_viewdef('old_day') <> :'before' AS replaced, relacl::text LIKE '%=r/%' AS readable, reloptions FROM pg_class WHERE relname = 'old_day';
SELECT check_name, subject FROM topk.audit('old') WHERE NOT ok;
ROLLBACK;
DROP FUNCTION differing, scans;
