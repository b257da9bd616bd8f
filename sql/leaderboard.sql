-- topk.leaderboard: final lists of sealed windows, lists of open ones, and what topk() makes of them.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = notice;
SELECT topk.create_counter();
SELECT partition FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{1000}');
SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-01-30 05:00Z', t.entry('a', 5), t.entry('b', 6)),
    t.hour('2020-01-31 22:00Z', t.entry('a', 7), t.entry('b', 1), t.entry('c', 7), t.entry('d', 2)), t.hour('2020-01-31 23:00Z', t.entry('c', 3)),
    t.hour('2020-02-01 00:00Z', t.entry('a', 1), t.entry('é', 1)), t.hour('2020-02-01 01:00Z', t.entry('z', 9))),
    ARRAY[ROW('2020-01-31 05:00Z', 'late', 4, 2), ROW('2020-01-29 05:00Z', 'only late', 3, 1)]::topk.flush_late[], NULL, ARRAY[ROW(0, 1, 0, 10, 9, 1, 1, NULL, 7, 3, 0, 0)::topk.flush_progress]);
CREATE VIEW listed AS SELECT w.span, w.window_start, w.sealed, w.revision, w.length, string_agg(l.video_id || ' ' || l.views, ', ' ORDER BY l.rank) AS list
    FROM topk.leaderboard_window_data w LEFT JOIN topk.leaderboard l USING (counter, span, window_start)
    GROUP BY w.counter, w.span, w.window_start HAVING w.span <> 'hour' OR w.length > 0 ORDER BY array_position('{hour,day,month,all_time}', w.span::text), w.window_start;
-- How topk() would find the list of a window
CREATE FUNCTION way(span text, at timestamptz) RETURNS text LANGUAGE sql AS $$ SELECT ended FROM topk.explain(span, 10, at) WHERE list = 'all' $$;
CREATE FUNCTION list(span text, at timestamptz, k int DEFAULT 10) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(video_id || ' ' || views, ', ' ORDER BY rank) FROM topk.top(span, k, at) $$;
-- Lists that are not what topk() says, asked with the lists out of its way
CREATE FUNCTION wrong() RETURNS TABLE (span text, window_start timestamptz) LANGUAGE plpgsql AS $$
DECLARE
    w record;
BEGIN
    ALTER TABLE topk.leaderboard_window_data RENAME TO hidden;
    FOR w IN SELECT h.span, h.window_start, CASE WHEN isfinite(h.window_start) THEN h.window_start ELSE '2020-01-01' END AS at FROM topk.hidden h LOOP
        IF ARRAY(SELECT (l.rank, l.video_id, l.views)::text FROM topk.leaderboard_data l WHERE (l.span, l.window_start) = (w.span, w.window_start) ORDER BY l.rank)
            IS DISTINCT FROM ARRAY(SELECT (t.rank, t.video_id, t.views)::text FROM topk.top(w.span, 1000, w.at) t ORDER BY t.rank) THEN
            span := w.span; window_start := w.window_start;
            RETURN NEXT;
        END IF;
    END LOOP;
    ALTER TABLE topk.hidden RENAME TO leaderboard_window_data;
END $$;

-- Nothing is sealed: all lists are open, none is used.
CALL topk.refresh();
SELECT * FROM listed;
SELECT count(*), bool_or(sealed) FROM topk.leaderboard_window_data;
SELECT way('hour', '2020-01-31 22:00Z'), way('day', '2020-01-30Z');
SELECT * FROM wrong();

-- January is sealed. Hours without a view have a final list, too: an empty one.
UPDATE topk.counter_data SET sealed_through = '2020-02-01 00:00Z';
CALL topk.refresh('video_views');
SELECT * FROM listed;
SELECT span, sealed, count(*), count(*) FILTER (WHERE length = 0) AS empty FROM topk.leaderboard_window_data GROUP BY 1, 2 ORDER BY 1, 2;
SELECT * FROM wrong();
SELECT counter, span, window_start, rank, video_id, views, sealed, revision, refreshed_at > now() - interval '1 min' AS dated FROM topk.leaderboard WHERE span = 'hour' AND sealed ORDER BY window_start, rank;
SELECT * FROM topk.explain('hour', 2, '2020-01-31 22:30Z');
SELECT * FROM topk.explain('month', 10, '2020-01-31 22:30Z');
SELECT way(span, at) FROM (VALUES ('hour', '2020-02-01 00:30Z'::timestamptz), ('day', '2020-02-01Z'), ('month', '2020-02-01Z'), ('all_time', '2020-01-31Z'), ('2 hours', '2020-01-31Z'), ('hour', '2020-01-31 04:30Z'), ('day', '2020-01-29Z')) v (span, at);
-- It is the list that is read: whoever changes it by hand sees what he wrote.
BEGIN;
UPDATE topk.leaderboard_data SET video_id = 'forged' WHERE video_id IN ('c', 'a') AND rank = 1 AND (span <> 'hour' OR window_start = '2020-01-31 22:00Z');
SELECT list('hour', '2020-01-31 22:59Z'), list('hour', '2020-01-31 22:00Z', 2) AS two, list('hour', '2020-01-31 04:00Z') AS empty, list('day', '2020-01-31Z'), list('month', '2020-01-01Z', 1) AS one, list('all_time', '2020-01-01Z');
-- Not with a rank missing.
DELETE FROM topk.leaderboard_data WHERE span = 'day' AND rank = 2;
SELECT list('day', '2020-01-31Z'), list('day', '2020-01-31Z', 1);
ROLLBACK;
-- Nothing is written that is there already.
CREATE VIEW written AS SELECT xmin::text AS by, span, window_start, rank, video_id, views FROM topk.leaderboard_data;
CREATE TABLE before AS SELECT * FROM written;
CALL topk.refresh();
SELECT count(*) FROM written FULL JOIN before b USING (by, span, window_start, rank, video_id, views) WHERE b.by IS NULL;
BEGIN;
UPDATE topk.leaderboard_window_data SET refreshed_at = clock_timestamp() + interval '1 min';  -- however slow the machine
SELECT topk.refresh_step('video_views') AS too_young, topk.refresh_step('video_views', now() - interval '1 h') AS younger;
ROLLBACK;
SELECT topk.refresh_step('video_views', clock_timestamp()) > 0 AS open_ones;

-- A correction: the final lists of its windows are stale, the others are not. They are made again; only changed ranks are written.
SELECT topk.correct('video_views', '2020-01-31 22:00Z', 'd', -2, 'robot'), topk.correct('video_views', '2020-01-31 22:00Z', 'b', 100, 'found');
SELECT way('hour', '2020-01-31 22:00Z'), list('hour', '2020-01-31 22:00Z'), way('day', '2020-01-31 22:00Z'), list('day', '2020-01-31 22:00Z'), way('month', '2020-01-01Z'), way('hour', '2020-01-31 23:00Z'), way('day', '2020-01-30Z');
SELECT DISTINCT span, revision FROM topk.leaderboard WHERE sealed AND window_start <= '2020-01-31 22:00Z' ORDER BY 1, 2;
CALL topk.refresh();
SELECT way('hour', '2020-01-31 22:00Z'), list('hour', '2020-01-31 22:00Z'), way('day', '2020-01-31 22:00Z'), list('day', '2020-01-31 22:00Z'), way('month', '2020-01-01Z'), list('month', '2020-01-01Z');
SELECT span, window_start, revision, length FROM topk.leaderboard_window_data WHERE revision > 0 ORDER BY 1;
SELECT span, window_start, rank, video_id, views FROM written WHERE span <> 'all_time' AND (by, span, window_start, rank) NOT IN (SELECT by, span, window_start, rank FROM before) ORDER BY 1, 2, 3;
SELECT * FROM wrong();
-- In an hour, a day and a month that were empty: their partition is made by it. Hours and days before the last final list
SELECT topk.correct('video_views', '2019-12-24 10:00Z', 'x', 1, 'forgotten'), topk.correct('video_views', '2020-01-30 06:00Z', 'y', 1, 'forgotten');
CALL topk.refresh();
SELECT * FROM listed WHERE list LIKE '%x%' OR list LIKE '%y%';
SELECT way('day', '2019-12-24Z'), list('day', '2019-12-24Z');
SELECT * FROM wrong();

-- Windows go on to be sealed; late views of an open day come in by then.
SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-02-01 02:00Z', t.entry('a', 1))), ARRAY[ROW('2020-02-01 00:00Z', 'late', 50, 1)]::topk.flush_late[], NULL, ARRAY[ROW(0, 1, 10, 12, 11, 1, 1, NULL, 1, 1, 0, 0)::topk.flush_progress]);
CALL topk.refresh();
SELECT * FROM listed WHERE window_start >= '2020-02-01Z' OR span = 'all_time';
UPDATE topk.counter_data SET sealed_through = '2020-02-02 00:00Z';
CALL topk.refresh();
SELECT * FROM listed WHERE window_start >= '2020-02-01Z' OR span = 'all_time';
SELECT way('day', '2020-02-01Z'), way('month', '2020-02-01Z');
SELECT * FROM wrong();

-- Rows put right by hand: topk.revise, and their lists are made again. What has expired keeps its list.
BEGIN;
SELECT topk.revise('video_views', '2020-01-31 22:00Z');
UPDATE video_views_hour SET views = 50 WHERE window_start = '2020-01-31 22:00Z' AND video_id = 'b';
COMMIT;
SELECT way('hour', '2020-01-31 22:00Z'), list('hour', '2020-01-31 22:00Z'), way('day', '2020-01-31 22:00Z'), list('day', '2020-01-31 22:00Z'), way('month', '2020-01-01Z'), way('hour', '2020-01-31 23:00Z');
CALL topk.refresh();
SELECT way('hour', '2020-01-31 22:00Z'), list('hour', '2020-01-31 22:00Z'), way('day', '2020-01-31 22:00Z'), list('day', '2020-01-31 22:00Z'), way('month', '2020-01-01Z'), list('month', '2020-01-01Z');
SELECT * FROM wrong();
BEGIN;
CREATE TEMP TABLE revised AS SELECT span, window_start, revision FROM topk.time_window;
UPDATE topk.counter_data SET hours_expired_through = '2020-02-01Z', days_expired_through = '2020-01-31Z';
SELECT topk.revise('video_views', '2020-01-31 22:00Z'), topk.revise('video_views', '2020-01-30 05:00Z');
SELECT span, window_start, w.revision - r.revision AS more FROM topk.time_window w JOIN revised r USING (span, window_start) WHERE w.revision <> r.revision ORDER BY 1, 2;
ROLLBACK;
SELECT t.error($$SELECT topk.revise('video_views', '2020-01-31 22:30Z')$$);
SELECT t.error($$SELECT topk.revise('video_views', NULL)$$);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT t.error($$SELECT topk.revise('video_views', '2020-01-31 22:00Z')$$);
ROLLBACK;

-- A list is 1000 long.
SELECT topk.create_counter('long');
SELECT partition FROM topk.claim('long', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{1000}');
SELECT topk.flush('long', 'events', t.deltas(t.hour('2020-01-31 22:00Z', VARIADIC (SELECT array_agg(t.entry(to_char(i, 'FM00000'), 1 + i % 700)) FROM generate_series(1, 3000) i))), NULL, NULL, ARRAY[t.advance(0, 1, 0, 1)]);
UPDATE topk.counter_data SET sealed_through = '2020-02-01 00:00Z' WHERE name = 'long';
CALL topk.refresh('long');
SELECT span, count(*), min(rank), max(rank), min(views) FROM topk.leaderboard WHERE counter = 'long' GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM topk.top('hour', 1000, '2020-01-31 22:00Z', 'long') t JOIN topk.leaderboard l USING (rank, video_id, views) WHERE l.span = 'hour' AND l.counter = 'long';
SELECT topk.drop_counter('long');
SELECT DISTINCT counter FROM topk.leaderboard_data UNION SELECT counter FROM topk.leaderboard_window_data;

-- Hours whose rows expired before they had a list are skipped, days whose hours expired are not.
BEGIN;
DO $$ BEGIN WHILE topk.roll_up_step('video_views') IS NOT NULL LOOP END LOOP; END $$;
UPDATE topk.counter_data SET hours_expired_through = '2020-02-01 00:00Z', days_expired_through = '2020-01-30 00:00Z';
DELETE FROM topk.leaderboard_data;
DELETE FROM topk.leaderboard_window_data;
SELECT topk.refresh_step('video_views', '-infinity') > 0 AS made;
SELECT topk.refresh_step('video_views', '-infinity') AS made;
SELECT span, min(window_start), bool_and(sealed) FROM topk.leaderboard_window_data GROUP BY 1 ORDER BY 1;
SELECT topk.refresh_list('video_views', 'hour', '2020-01-31 22:00Z') AS hour, topk.refresh_list('video_views', 'day', '2020-01-29 22:00Z') AS day, topk.refresh_list('video_views', 'day', '2020-01-31 22:00Z') AS again;
ROLLBACK;

-- Who sees them: who may read all rows. topk() uses them for who may, and only while no policies apply to the caller or the owner.
CREATE ROLE regress_board_read; CREATE ROLE regress_board_ingest; CREATE ROLE regress_board_admin; CREATE ROLE regress_board_nobody;
SELECT topk.grant_access('regress_board_read', 'read'), topk.grant_access('regress_board_ingest', 'ingest'), topk.grant_access('regress_board_admin', 'admin');
CREATE FUNCTION sees(role text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    seen text;
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    seen := (SELECT count(*) > 0 FROM topk.leaderboard)::text || ', ' || t.error($e$SELECT way('hour', '2020-01-31 22:00Z'), way('day', '2020-01-31 22:00Z')$e$);
    IF seen LIKE '%no error' THEN seen := concat_ws(', ', seen, way('hour', '2020-01-31 22:00Z'), way('day', '2020-01-31 22:00Z'), way('month', '2020-01-31 22:00Z')); END IF;
    RESET ROLE;
    RETURN seen;
END $$;
SELECT role, sees('regress_board_' || role) FROM unnest('{read,ingest,admin,nobody}'::text[]) role;
BEGIN; REVOKE SELECT ON video_views_month_rollup FROM regress_board_read; SET LOCAL ROLE regress_board_read; SELECT DISTINCT span FROM topk.leaderboard; SELECT way('hour', '2020-01-31 22:00Z'), way('day', '2020-01-31 22:00Z'); ROLLBACK;
BEGIN; GRANT SELECT ON video_views_hour TO regress_board_nobody; SET LOCAL ROLE regress_board_nobody; SELECT DISTINCT span FROM topk.leaderboard; ROLLBACK;
BEGIN; REVOKE USAGE ON SCHEMA public FROM PUBLIC; GRANT SELECT ON video_views_hour TO regress_board_nobody; SET LOCAL ROLE regress_board_nobody; SELECT DISTINCT span FROM topk.leaderboard; ROLLBACK;
BEGIN;
ALTER TABLE video_views_late ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_but_late ON video_views_late FOR SELECT USING (video_id <> 'late');
SELECT sees('regress_board_read'), way('day', '2020-01-31Z') AS owner;
SET LOCAL ROLE regress_board_read;
SELECT list('day', '2020-01-31Z'), list('hour', '2020-01-31 22:00Z');
RESET ROLE;
ALTER TABLE video_views_late FORCE ROW LEVEL SECURITY;
ALTER TABLE video_views_hour OWNER TO regress_board_nobody;
ALTER TABLE video_views_late OWNER TO regress_board_nobody;
SELECT list('hour', '2020-01-31 22:00Z'), way('hour', '2020-01-31 22:00Z');
SELECT t.error($$SELECT topk.refresh_step('video_views')$$);
ROLLBACK;
CREATE FUNCTION tries(role text) RETURNS TABLE (statement text, outcome text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    FOREACH statement IN ARRAY ARRAY['SELECT topk.refresh_step(''video_views'')', 'SELECT * FROM topk.refresh_due(''video_views'', NULL)', 'SELECT topk.refresh_list(''video_views'', ''hour'', ''2020-01-31Z'')',
        'SELECT topk.maintain_step(''video_views'', ''refresh'')', 'SELECT topk.revise(''video_views'', ''2020-01-31Z'')', 'SELECT FROM topk.leaderboard_data', 'SELECT FROM topk.leaderboard_window_data', 'DELETE FROM topk.leaderboard'] LOOP
        outcome := split_part(t.error(statement), E'\n', 1);
        RETURN NEXT;
    END LOOP;
    RESET ROLE;
END $$;
SELECT * FROM tries('regress_board_read');
SELECT * FROM tries('regress_board_admin');

-- 42704, 22023, 25001, and procedures that commit are called alone.
SELECT t.error($$SELECT topk.refresh_step('no such')$$);
SELECT t.error($$SELECT topk.refresh_step(NULL)$$);
SELECT t.error($$SELECT topk.refresh_list('video_views', 'week', now())$$);
SELECT t.error($$SELECT topk.refresh_list('video_views', 'day', 'infinity')$$);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT t.error($$SELECT topk.refresh_list('video_views', 'hour', '2020-01-31Z')$$);
ROLLBACK;
\set VERBOSITY terse
BEGIN;
CALL topk.refresh();
ROLLBACK;
CALL topk.refresh('no such');
\set VERBOSITY default

-- A partition that somebody dropped: windows that need it get no list, which is told; the others do.
SELECT topk.correct('video_views', '2020-02-02 10:00Z', 'w', 1, 'the last day');
UPDATE topk.counter_data SET sealed_through = '2020-02-03 00:00Z';
DROP TABLE video_views_hour_20200201;
CALL topk.refresh();
SELECT * FROM listed WHERE window_start >= '2020-02-02Z';

-- Hours wait for their final lists, or those after a correction, before they expire: once more as long as they are kept, and not if their
-- partition is gone.
SELECT topk.create_counter('six');
SELECT partition FROM topk.claim('six', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{1000}');
SELECT topk.flush('six', 'events', t.deltas(VARIADIC (SELECT array_agg(t.hour('2020-03-01 05:00Z'::timestamptz + d * interval '24 hours', t.entry('a', d + 1))) FROM generate_series(0, 5) d)), NULL, NULL, ARRAY[t.advance(0, 1, 0, 6)]);
UPDATE topk.counter_data SET sealed_through = '2020-03-07Z' WHERE name = 'six';
SELECT topk.set_retention('six', hours => '1 day');
CALL topk.roll_up('six');
CREATE VIEW six AS SELECT hours_expired_through FROM topk.counter WHERE name = 'six';
CREATE VIEW made AS SELECT span, sealed, count(*) FROM topk.leaderboard_window_data WHERE counter = 'six' GROUP BY 1, 2 ORDER BY 1, 2;
BEGIN;
SELECT topk.advance_expiry('six');
SELECT * FROM six;
SELECT count(topk.refresh_step('six', '-infinity')) > 0 AS refreshed FROM generate_series(1, 10);
SELECT topk.correct('six', '2020-03-05 10:00Z', 'a', 9, 'found');
SELECT topk.advance_expiry('six');
SELECT count(topk.refresh_step('six', '-infinity')) > 0 AS refreshed FROM generate_series(1, 10);
SELECT topk.advance_expiry('six');
SELECT * FROM six;
ROLLBACK;
BEGIN;
DROP TABLE six_hour_20200303;
SELECT topk.set_retention('six', hours => '2 days');
SELECT count(topk.refresh_step('six', '-infinity')) > 0 AS refreshed FROM generate_series(1, 10);
SELECT topk.advance_expiry('six');
SELECT * FROM six;
ROLLBACK;
-- Lists made out of their order leave none of the others behind.
SELECT topk.refresh_list('six', 'hour', '2020-03-06 23:00Z'), topk.refresh_list('six', 'day', '2020-03-06Z');
BEGIN;
SELECT count(topk.refresh_step('six', '-infinity')) > 0 AS refreshed FROM generate_series(1, 10);
SELECT * FROM made;
ROLLBACK;
-- An error of whatever kind keeps only its own window from its list, and is told once an hour.
BEGIN;
ALTER TABLE six_late RENAME COLUMN views TO renamed;
SELECT count(topk.refresh_step('six', '-infinity')) > 0 AS refreshed FROM generate_series(1, 10);
SELECT * FROM made;
SELECT span, window_start, message FROM topk.list_failure_data WHERE counter = 'six' ORDER BY 1, 2;
ALTER TABLE six_late RENAME COLUMN renamed TO views;
SELECT topk.revise('six', '2020-03-02 00:00Z');
UPDATE topk.list_failure_data SET failed_at = failed_at - interval '61 min' WHERE window_start = '2020-03-03Z';
SELECT count(topk.refresh_step('six', '-infinity')) > 0 AS refreshed FROM generate_series(1, 10);
SELECT span, window_start FROM topk.list_failure_data WHERE counter = 'six' ORDER BY 1, 2;
ROLLBACK;
-- Four days without partitions, not rolled up, before all others: more hours than are looked at in a step
UPDATE topk.roll_up_marker SET window_start = '-infinity' WHERE counter = 'six';
TRUNCATE six_day_rollup, six_month_rollup, six_all_time_rollup;
DELETE FROM topk.leaderboard_window_data WHERE counter = 'six';
DROP TABLE six_hour_20200301, six_hour_20200302, six_hour_20200303, six_hour_20200304;
CALL topk.refresh('six');
SELECT * FROM made;
CALL topk.refresh('six');
SELECT topk.drop_counter('six');
DROP VIEW six, made;

-- A session of an older version knows no lists, and leaves them when it drops a counter: one that is made anew does not begin with them.
INSERT INTO topk.leaderboard_window_data SELECT 'anew', span, window_start, sealed, revision, length, refreshed_at FROM topk.leaderboard_window_data WHERE sealed;
INSERT INTO topk.leaderboard_data SELECT 'anew', span, window_start, rank, video_id, views FROM topk.leaderboard_data;
INSERT INTO topk.prepared_sum_data VALUES ('anew', '2020-01-30Z', '2020-01-31Z', 0, true, '{a}', '{1}');
INSERT INTO topk.expired_late_data VALUES ('anew', '2020-01-30Z', 1, 1);
INSERT INTO topk.expired_dead_data VALUES ('anew', 'events', 0, 1);
SELECT topk.create_counter('anew');
SELECT counter FROM topk.leaderboard_window_data WHERE counter = 'anew' UNION ALL SELECT counter FROM topk.leaderboard_data WHERE counter = 'anew' UNION ALL SELECT counter FROM topk.prepared_sum_data
    UNION ALL SELECT counter FROM topk.expired_late_data UNION ALL SELECT counter FROM topk.expired_dead_data;
SELECT topk.drop_counter('anew');

SELECT topk.drop_counter('video_views');
SELECT (SELECT count(*) FROM topk.leaderboard_data) + (SELECT count(*) FROM topk.leaderboard_window_data) AS left;
DROP VIEW listed, written;
DROP TABLE before;
DROP FUNCTION way, list, wrong, sees, tries;
DROP ROLE regress_board_read, regress_board_ingest, regress_board_admin, regress_board_nobody;
