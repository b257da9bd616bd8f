-- topk.maintain: all of the upkeep in one call, part by part; a part that fails keeps none of the others from running.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = warning;
SELECT topk.create_counter();
SELECT partition FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{1000}');
CREATE FUNCTION views(at timestamptz, from_offset bigint, watermark timestamptz) RETURNS timestamptz LANGUAGE sql AS
    $$ SELECT topk.flush('video_views', 'events', t.deltas(t.hour(at, t.entry('a', 5), t.entry('b', 6))), NULL, NULL, ARRAY[t.advance(0, 1, from_offset, from_offset + 1, watermark)]) $$;
CREATE VIEW state AS SELECT c.sealed_through, c.hours_expired_through, c.days_expired_through,
    (SELECT count(*) FROM video_views_day_rollup) AS day_rows, (SELECT count(*) FROM video_views_month_rollup) AS month_rows,
    (SELECT count(*) FROM topk.leaderboard WHERE sealed) AS ranks FROM topk.counter c;

-- Step by step, as topkd does; true: it did something
SELECT views('2020-01-01 05:00Z', 0, '2020-01-01 06:05Z');
SELECT topk.maintain_step('video_views', 'seal') AS sealed, topk.maintain_step('video_views', 'expire') AS expired;
SELECT topk.maintain_step('video_views', 'seal') AS sealed;
SELECT topk.maintain_step('video_views', 'roll_up') AS rolled_up;
SELECT topk.maintain_step('video_views', 'roll_up') AS rolled_up;
SELECT topk.maintain_step('video_views', 'refresh') AS refreshed;
SELECT topk.maintain_step('video_views', 'refresh') AS refreshed;
SELECT * FROM state;
SELECT t.error($$SELECT topk.maintain_step('video_views', 'vacuum')$$);
SELECT t.error($$SELECT topk.maintain_step('video_views', NULL)$$);

-- All at once: the day is sealed, in month and all time, listed. Of January only its last week is kept as hours.
SELECT views('2020-01-02 05:00Z', 1, '2020-02-01 00:05Z');
CALL topk.maintain();
SELECT * FROM state;
SELECT span, rank, video_id, views FROM topk.leaderboard WHERE span <> 'hour' ORDER BY span, window_start, rank;
SELECT * FROM topk.audit() WHERE NOT ok;

-- No list can be made: the rest is done, and the error told at the end.
SELECT views('2020-02-01 05:00Z', 2, '2020-02-20 00:05Z');
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no list today' USING ERRCODE = 'lock_not_available', HINT = 'Come tomorrow.'; END $$;
CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON topk.leaderboard_window_data FOR EACH ROW EXECUTE FUNCTION refuse();
\set VERBOSITY terse
CALL topk.maintain('video_views');
\set VERBOSITY default
SELECT * FROM state;
DROP TRIGGER refuse ON topk.leaderboard_window_data;
CALL topk.maintain();
SELECT * FROM state;

-- Parts take turns, sealing first: an hour that can be sealed when the roll-up has begun is sealed before the roll-up ends.
SELECT views('2020-02-20 05:00Z', 3, '2020-02-20 06:05Z');
CREATE FUNCTION go_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- While the first hour is rolled up the next can be sealed, and then one more.
    UPDATE topk.kafka_progress_data SET watermark = watermark + interval '1 hour' WHERE watermark < '2020-02-20 09:00Z';
    INSERT INTO public.turns (sealed_through) SELECT sealed_through FROM topk.counter;
    RETURN NULL;
END $$;
CREATE TABLE turns (n serial, sealed_through timestamptz);
CREATE TRIGGER go_on AFTER UPDATE ON topk.roll_up_marker FOR EACH ROW EXECUTE FUNCTION go_on();
CALL topk.maintain();
SELECT * FROM turns ORDER BY n;
SELECT sealed_through FROM topk.counter;
DROP TRIGGER go_on ON topk.roll_up_marker;
DROP TABLE turns;
DROP FUNCTION go_on;
-- Who has nothing to do writes nothing.
CALL topk.maintain();
BEGIN;
SELECT topk.maintain_step('video_views', 'expire') AS did, pg_current_xact_id_if_assigned() AS writes_as;
COMMIT;

-- It is called alone, and by who may.
\set VERBOSITY terse
BEGIN;
CALL topk.maintain();
ROLLBACK;
CALL topk.maintain('no such');
CALL topk.maintain(NULL);
CREATE ROLE regress_maintain_read; CREATE ROLE regress_maintain_admin;
SELECT topk.grant_access('regress_maintain_read', 'read'), topk.grant_access('regress_maintain_admin', 'admin');
SET ROLE regress_maintain_read;
CALL topk.maintain();
SET ROLE regress_maintain_admin;
CALL topk.maintain();
RESET ROLE;

-- Today and the next two days, in the counter's zone, have their partitions and hours ahead, one a step; the first flush of a day makes
-- none. Midnight may pass meanwhile.
SELECT topk.create_counter('ahead', 'Asia/Kolkata');
CREATE TEMPORARY TABLE began AS SELECT now() AS at;
CREATE FUNCTION partitions() RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM pg_inherits WHERE inhparent = 'ahead_hour'::regclass $$;
SELECT topk.maintain_step('ahead', 'partitions') AS made, partitions();
CALL topk.maintain('ahead');
SELECT topk.maintain_step('ahead', 'partitions') AS made, partitions() - ((now() AT TIME ZONE 'Asia/Kolkata')::date - (SELECT at AT TIME ZONE 'Asia/Kolkata' FROM began)::date) AS days;
SELECT count(*) FILTER (WHERE m.hour_start IS NULL) AS missing, count(*) > 48 AS hours FROM began,
    topk.hours('ahead', at, date_trunc('day', at AT TIME ZONE 'Asia/Kolkata') AT TIME ZONE 'Asia/Kolkata' + interval '72 hours') h LEFT JOIN topk.hour_map m ON m.counter = 'ahead' AND m.hour_start = h.hour_start;
-- One without rows is no list; its hours are known, and empty.
SELECT list ~ 'hour' AS of_hours, count(*) FROM topk.explain('month', 10, NULL, 'ahead') WHERE list <> 'all' GROUP BY 1;
SELECT count(*) FROM topk('month', 10, NULL, 'ahead');
SELECT status FROM topk.claim('ahead', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{1000}');
CREATE TEMPORARY TABLE made AS SELECT partitions();
SELECT topk.flush('ahead', 'events', t.deltas(t.hour((SELECT hour_start FROM topk.hours('ahead', now() + interval '24 hours', now() + interval '25 hours') LIMIT 1), t.entry('a', 5))), NULL, NULL, ARRAY[t.advance(0, 1, 0, 1)]);
SELECT partitions() - m.partitions AS more FROM made m;
SELECT video_id, views FROM topk('hour', 10, now() + interval '24 hours', 'ahead');
SELECT video_id, views FROM topk.between((SELECT min(hour_start) FROM topk.hour_map WHERE counter = 'ahead'), (SELECT max(hour_start) FROM topk.hour_map WHERE counter = 'ahead'), 10, 'ahead');
-- 42501, 42704, 22023, 25001
SET ROLE regress_maintain_read;
SELECT t.error($$SELECT topk.make_partition_ahead('ahead')$$);
RESET ROLE;
SELECT t.error($$SELECT topk.make_partition_ahead('no such')$$), t.error($$SELECT topk.make_partition_ahead(NULL)$$);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT t.error($$SELECT topk.make_partition_ahead('ahead')$$);
ROLLBACK;
SELECT topk.drop_counter('ahead');
DROP TABLE began, made;
DROP FUNCTION partitions;

DROP VIEW state;
SELECT topk.drop_counter('video_views');
DROP FUNCTION views, refuse;
DROP ROLE regress_maintain_read, regress_maintain_admin;
