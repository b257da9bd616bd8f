-- topk.expire: what is old enough and rolled up goes, in steps; the frontiers say so first, and the books still add up.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = notice;
SELECT topk.create_counter();
SELECT partition FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 2, '{0,1}', '{0,0}', '{1000,1000}');
-- Four days of views, and a gap; late views of two days, which both still took, and dead letters
SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-01-30 05:00Z', t.entry('a', 5)), t.hour('2020-01-31 22:00Z', t.entry('a', 7), t.entry('b', 1)),
    t.hour('2020-01-31 23:00Z', t.entry('c', 3)), t.hour('2020-02-01 00:00Z', t.entry('a', 1)), t.hour('2020-02-07 01:00Z', t.entry('z', 9))),
    ARRAY[ROW('2020-01-31 05:00Z', 'late', 4, 2), ROW('2020-01-29 05:00Z', 'only late', 3, 1)]::topk.flush_late[],
    ARRAY[ROW(0, 8, NULL, 'x', NULL, NULL), ROW(1, 1, NULL, 'y', NULL, NULL), ROW(1, 2, NULL, 'y', NULL, NULL)]::topk.flush_dead[],
    ARRAY[ROW(0, 1, 0, 10, 9, 1, 1, NULL, 6, 3, 1, 0), ROW(1, 1, 0, 3, 2, 1, 1, NULL, 0, 0, 2, 1)]::topk.flush_progress[]);
CREATE VIEW frontiers AS SELECT hours_expired_through, days_expired_through FROM topk.counter;
CREATE VIEW partitions AS SELECT inhrelid::regclass::text AS partition FROM pg_inherits WHERE inhparent = 'video_views_hour'::regclass ORDER BY inhrelid::regclass::text COLLATE "C";
CREATE VIEW wrong AS SELECT check_name, subject, expected, found FROM topk.audit() WHERE NOT ok AND subject IS NOT NULL;
CREATE FUNCTION list(span text, at timestamptz, k int DEFAULT 10) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(video_id || ' ' || views, ', ' ORDER BY rank) FROM topk.top(span, k, at) $$;
-- Partitions go when no snapshot needs them, and a snapshot of autovacuum's is one.
CREATE PROCEDURE expire_until(partitions bigint) LANGUAGE plpgsql AS $$
DECLARE
    tries int := 0;
BEGIN
    LOOP
        CALL topk.expire();
        EXIT WHEN (SELECT count(*) FROM pg_inherits WHERE inhparent = 'video_views_hour'::regclass) = partitions OR tries > 600;
        tries := tries + 1;
        PERFORM pg_sleep(0.1);
        COMMIT;
    END LOOP;
END $$;

-- How long what is kept
SELECT hour_retention, day_retention, hour_list_retention, late_retention, hours_expired_through, days_expired_through, hours_expired_at FROM topk.counter;
SELECT topk.set_retention('video_views', hours => '2 days'), topk.set_retention('video_views', days => '3 days', late => '1000 years');
SELECT topk.set_retention('video_views');
SELECT hour_retention, day_retention, hour_list_retention, late_retention FROM topk.counter;
SELECT t.error($$SELECT topk.set_retention('video_views', hours => '23:59:59')$$);
SELECT t.error($$SELECT topk.set_retention('video_views', days => '1 hour')$$);
SELECT t.error($$SELECT topk.set_retention('video_views', hour_lists => '-1 day')$$);
SELECT t.error($$SELECT topk.set_retention('video_views', late => '1001 years')$$);
SELECT t.error($$SELECT topk.set_retention('video_views', days => '1 day')$$);
SELECT t.error($$SELECT topk.set_retention('video_views', '4 days')$$);
SELECT t.error($$SELECT topk.set_retention('no such', '4 days')$$);
SELECT t.error($$SELECT topk.set_retention(NULL, '4 days')$$);

-- Nothing is sealed: nothing expires, however old it is.
CALL topk.expire();
SELECT * FROM frontiers;
-- Sealed, but not rolled up: nothing expires either.
UPDATE topk.counter_data SET sealed_through = '2020-02-08 00:00Z';
CALL topk.expire();
SELECT * FROM frontiers;
SELECT count(*) FROM partitions;

-- Rolled up as far as an hour within 31 January: the day before may go, that day must stay.
CALL topk.roll_up();
CREATE TABLE kept_marker AS SELECT * FROM topk.roll_up_marker;
UPDATE topk.roll_up_marker SET (window_start, video_id) = ('2020-01-31 23:00Z', 'b') WHERE span = 'day';
SELECT topk.expire_step('video_views') AS frontier;
SELECT * FROM frontiers;
CALL expire_until(3);
SELECT * FROM partitions;
SELECT * FROM frontiers;
UPDATE topk.roll_up_marker m SET window_start = k.window_start, video_id = k.video_id FROM kept_marker k WHERE k.span = m.span;
SELECT * FROM wrong;

-- Final lists are waited for, those of days as well, and of their present revision.
BEGIN;
SELECT topk.set_retention('video_views', days => '5 days');
SELECT topk.advance_expiry('video_views');
SELECT * FROM frontiers;
SELECT topk.refresh_list('video_views', 'day', '2020-01-30Z'), topk.refresh_list('video_views', 'day', '2020-01-31Z');
SELECT topk.revise('video_views', '2020-01-31 22:00Z');
SELECT topk.advance_expiry('video_views');
SELECT * FROM frontiers;
SELECT topk.refresh_list('video_views', 'day', '2020-01-31Z');
SELECT topk.advance_expiry('video_views');
SELECT * FROM frontiers;
-- As long again, and not longer.
SELECT topk.set_retention('video_views', days => '3 days');
SELECT topk.advance_expiry('video_views');
SELECT * FROM frontiers;
ROLLBACK;

-- All is rolled up: hours until two days before the frontier, days until three; whole days only.
CALL topk.refresh();
SELECT topk.expire_step('video_views') AS frontiers;
SELECT * FROM frontiers;
SELECT hours_expired_at > now() - interval '1 min' AS dated FROM topk.counter;
-- That is committed first. Then rows go, in steps, and partitions.
SELECT * FROM partitions;
SELECT window_start, video_id, views FROM video_views_day_rollup ORDER BY 1, 2;
-- The view of days has no part of an expired one, although its rows, and its late views, are still there; nor has it for whom it belongs to.
SELECT window_start, video_id, views FROM video_views_day ORDER BY 1, 2;
SELECT count(*) FROM video_views_late WHERE span = 'day';
BEGIN;
CREATE ROLE regress_expire_owner;
GRANT USAGE ON SCHEMA public, topk TO regress_expire_owner;
ALTER VIEW video_views_day OWNER TO regress_expire_owner;
GRANT SELECT ON video_views_hour, video_views_late, video_views_day_rollup TO regress_expire_owner;
SET LOCAL ROLE regress_expire_owner;
SELECT window_start, video_id, views FROM video_views_day ORDER BY 1, 2;
ROLLBACK;
BEGIN;
SELECT topk.expire_step('video_views') AS rolled_back;
ROLLBACK;
SELECT topk.expire_step('video_views') AS rows;
SELECT window_start, video_id, views FROM video_views_day ORDER BY 1, 2;
SELECT window_start, video_id, views FROM video_views_day_rollup ORDER BY 1, 2;
SELECT topk.expire_step('video_views') AS late_rows;
SELECT span, window_start, video_id, views FROM video_views_late ORDER BY 1, 2, 3;
CALL expire_until(1);
SELECT * FROM partitions;
SELECT topk.expire_step('video_views') AS nothing_left;
SELECT * FROM wrong;
-- Months and all time are what they were; final lists of days stay.
SELECT list('month', '2020-01-01Z'), list('month', '2020-02-01Z'), list('all_time', '2020-02-01Z'), list('day', '2020-01-31Z'), list('hour', '2020-01-31 22:00Z'), list('hour', '2020-02-07 01:00Z');
-- What is no longer there and has no list is an error, never a short list.
BEGIN;
DELETE FROM topk.leaderboard_window_data;
SELECT t.error($$SELECT list('hour', '2020-01-31 22:00Z')$$);
SELECT t.error($$SELECT list('day', '2020-01-31Z')$$);
SELECT list('month', '2020-01-01Z');
ROLLBACK;
SELECT t.error($$SELECT topk.correct('video_views', '2020-01-31 22:00Z', 'a', 1, 'too late')$$);

-- Longer retentions bring nothing back, and move no frontier.
SELECT topk.set_retention('video_views', '10 days', '20 days');
CALL topk.expire();
SELECT * FROM frontiers;

-- Lists of hours go after their own time; then it depends on whether the rows are there. Those of days and months stay.
SELECT span, count(*) > 0 AS lists FROM topk.leaderboard GROUP BY 1 ORDER BY 1;
SELECT topk.set_retention('video_views', hour_lists => '1 hour');
CALL topk.expire();
SELECT span, min(window_start), count(*) > 0 AS lists FROM topk.leaderboard_window_data GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM topk.leaderboard_data l LEFT JOIN topk.leaderboard_window_data w USING (counter, span, window_start) WHERE w.counter IS NULL;
SELECT list('hour', '2020-02-07 01:00Z'), t.error($$SELECT list('hour', '2020-01-31 22:00Z')$$);
CALL topk.refresh();
SELECT span, min(window_start), count(*) > 0 AS lists FROM topk.leaderboard_window_data GROUP BY 1 ORDER BY 1;
SELECT topk.set_retention('video_views', hour_lists => '30 days');

-- Late views and dead letters go by when they came, not by their hours. Their sums stay in the books.
SELECT topk.set_retention('video_views', late => '1 hour');
CALL topk.expire();
SELECT (SELECT count(*) FROM topk.late_views), (SELECT count(*) FROM topk.dead_letter);
UPDATE topk.late_views_data SET first_seen = now() - interval '1 day', last_seen = now() - CASE video_id WHEN 'late' THEN interval '59 min' ELSE interval '61 min' END;
UPDATE topk.dead_letter_data SET recorded_at = now() - CASE "offset" WHEN 2 THEN interval '59 min' ELSE interval '61 min' END;
CALL topk.expire();
SELECT hour_start, video_id FROM topk.late_views;
SELECT partition, "offset" FROM topk.dead_letter;
SELECT * FROM topk.expired_late;
SELECT * FROM topk.expired_dead ORDER BY partition;
SELECT * FROM wrong;
UPDATE topk.late_views_data SET last_seen = now() - interval '2 hours';
CALL topk.expire();
SELECT * FROM topk.expired_late ORDER BY hour_start;
SELECT * FROM wrong;
-- The audit still fails when one more is gone, or comes.
BEGIN; DELETE FROM topk.dead_letter_data; SELECT * FROM wrong; ROLLBACK;
BEGIN; UPDATE topk.expired_dead_data SET letters = letters + 1 WHERE partition = 0; SELECT * FROM wrong; ROLLBACK;
BEGIN; UPDATE topk.expired_late_data SET views = views - 1 WHERE hour_start = '2020-01-31 05:00Z'; SELECT * FROM wrong; ROLLBACK;
-- The same hour and partition again
SELECT topk.flush('video_views', 'events', t.deltas(), ARRAY[ROW('2020-01-31 05:00Z', 'late', 6, 1)]::topk.flush_late[], ARRAY[ROW(0, 11, NULL, 'x', NULL, NULL)]::topk.flush_dead[], ARRAY[ROW(0, 1, 10, 12, 11, 1, 1, NULL, 0, 1, 1, 0)]::topk.flush_progress[]);
UPDATE topk.late_views_data SET first_seen = now() - interval '1 day', last_seen = now() - interval '1 day';
UPDATE topk.dead_letter_data SET recorded_at = now() - interval '1 day';
CALL topk.expire();
SELECT * FROM topk.expired_late ORDER BY hour_start;
SELECT * FROM topk.expired_dead ORDER BY partition;
SELECT * FROM wrong;

-- What a partition is needed for keeps it: a view of the owner's, which DROP would take along. That is told.
SELECT topk.set_retention('video_views', '1 day', '1 day');
SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-02-20 05:00Z', t.entry('a', 5))), NULL, NULL, ARRAY[t.advance(0, 1, 12, 13)]);
UPDATE topk.counter_data SET sealed_through = '2020-02-21 00:00Z';
CALL topk.roll_up();
CREATE VIEW of_partition AS SELECT * FROM video_views_hour_20200207;
SELECT topk.expire_step('video_views') AS frontiers;
SELECT * FROM frontiers;
\set VERBOSITY terse
DO $$
DECLARE
    outcome text;
BEGIN
    FOR i IN 1..600 LOOP
        BEGIN
            IF topk.drop_expired_hours('video_views', '100 ms') THEN outcome := 'dropped'; END IF;
        EXCEPTION WHEN dependent_objects_still_exist THEN outcome := SQLERRM;
        END;
        EXIT WHEN outcome IS NOT NULL;
        PERFORM pg_sleep(0.1);
        COMMIT;
    END LOOP;
    RAISE NOTICE '%', outcome;
END $$;
CALL topk.expire();
-- Once an hour, or when it is something else
CALL topk.expire();
UPDATE topk.counter_data SET drop_trouble_told_at = now() - interval '2 hours', hours_expired_at = now() - interval '2 hours';
CALL topk.expire();
CALL topk.expire();
UPDATE topk.counter_data SET drop_trouble = 'something else';
CALL topk.expire();
-- It keeps none of the partitions behind it, and one of who had the counter before is dropped, too.
SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-02-25 05:00Z', t.entry('a', 5))), NULL, NULL, ARRAY[t.advance(0, 1, 13, 14)]);
UPDATE topk.counter_data SET sealed_through = '2020-02-26 00:00Z';
CALL topk.roll_up();
CREATE ROLE regress_expire_before;
GRANT USAGE, CREATE ON SCHEMA public TO regress_expire_before;
ALTER TABLE video_views_hour_20200220 OWNER TO regress_expire_before;
CALL expire_until(2);
SELECT * FROM partitions;
DROP VIEW of_partition;
CALL expire_until(1);
\set VERBOSITY default
SELECT * FROM partitions;
REVOKE ALL ON SCHEMA public FROM regress_expire_before;
DROP ROLE regress_expire_before;

-- A partition that somebody made by hand has rows of no hour, which are rolled up nowhere: it stays.
CREATE TABLE by_hand PARTITION OF video_views_hour FOR VALUES FROM ('2019-01-01 00:30Z') TO ('2019-01-02 00:30Z');
CALL topk.expire();
SELECT * FROM partitions;
DROP TABLE by_hand;

-- 25001, 42501, 42704, 22023
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT t.error($$SELECT topk.expire_step('video_views')$$);
ROLLBACK;
SELECT t.error($$SELECT topk.expire_step('no such')$$);
SELECT t.error($$SELECT topk.expire_step('video_views', '11 s')$$);
SELECT t.error($$SELECT topk.expire_step('video_views', '0')$$);
CREATE ROLE regress_expire_read; CREATE ROLE regress_expire_admin; CREATE ROLE regress_expire_nobody;
SELECT topk.grant_access('regress_expire_read', 'read'), topk.grant_access('regress_expire_admin', 'admin');
CREATE FUNCTION tries(role text) RETURNS TABLE (statement text, outcome text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    FOREACH statement IN ARRAY ARRAY['SELECT topk.set_retention(''video_views'', late => ''30 days'')', 'SELECT topk.expire_step(''video_views'')', 'SELECT topk.advance_expiry(''video_views'')', 'SELECT topk.delete_expired(''video_views'')',
        'SELECT topk.drop_expired_hours(''video_views'', ''1 s'')', 'SELECT FROM topk.expired_late_data', 'SELECT FROM topk.expired_dead_data'] LOOP
        outcome := split_part(t.error(statement), E'\n', 1);
        RETURN NEXT;
    END LOOP;
    outcome := (SELECT count(*) FROM topk.expired_late) || ', ' || (SELECT count(*) FROM topk.expired_dead);
    statement := 'rows of expired_late, expired_dead';
    RETURN NEXT;
    RESET ROLE;
END $$;
SELECT * FROM tries('regress_expire_nobody');
SELECT * FROM tries('regress_expire_read');
SELECT * FROM tries('regress_expire_admin');
BEGIN;
CREATE ROLE regress_expire_owner;
GRANT USAGE, CREATE ON SCHEMA public TO regress_expire_owner;
ALTER TABLE video_views_day_rollup ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE video_views_hour OWNER TO regress_expire_owner;
SELECT t.error($$SELECT topk.expire_step('video_views')$$);
ROLLBACK;

DROP VIEW partitions;
SELECT topk.drop_counter('video_views');
SELECT (SELECT count(*) FROM topk.expired_late_data) + (SELECT count(*) FROM topk.expired_dead_data) AS left;
DROP VIEW frontiers, wrong;
DROP FUNCTION list, tries;
DROP PROCEDURE expire_until;
DROP TABLE kept_marker;
DROP ROLE regress_expire_read, regress_expire_admin, regress_expire_nobody;
