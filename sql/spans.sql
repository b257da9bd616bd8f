-- What spans are made of while hours are rolled up to days, and days to months and all time: whatever the markers, lists equal sums of all
-- rows, merged, added up, and as readers under policies see them. Rows that expired are an error, never missing.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = warning;
SELECT topk.create_counter('spans');
SELECT partition FROM topk.claim('spans', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{100}');
-- Two days of a month, two and a half of the next; few views, so that many are tied; some videos are missing in some hours.
SELECT topk.flush('spans', 'events', (SELECT t.deltas(VARIADIC array_agg(h ORDER BY n)) FROM (
    SELECT n, t.hour('2026-01-30 00:00Z'::timestamptz + n * interval '1 hour',
        VARIADIC (SELECT array_agg(t.entry('v' || lpad(v::text, 2, '0'), 1 + (v * 7 + n * 3) % 5 + 20 / v) ORDER BY v) FROM generate_series(1, 12) v WHERE (v + n) % 7 <> 0)) AS h
    FROM generate_series(0, 107) n) hours), ARRAY[ROW('2026-01-29 05:00Z', 'v05', 70, 1), ROW('2026-01-30 05:00Z', 'v02', 60, 1), ROW('2026-02-01 05:00Z', 'late', 50, 1)]::topk.flush_late[],
    NULL, ARRAY[t.advance(0, 1, 0, 10)]);
CREATE TABLE truth AS SELECT m.*, h.video_id, h.views FROM spans_hour h JOIN topk.hour_map m ON m.counter = 'spans' AND m.hour_start = h.window_start;

-- Lists of truth; hidden is a video that a policy hides.
CREATE FUNCTION expected_between(since timestamptz, until timestamptz, k int, hidden text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT string_agg(format('%s %s', video_id, views), ',') FROM (SELECT video_id, sum(views) AS views FROM truth
        WHERE hour_start >= since AND hour_start < until AND video_id <> hidden GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT k) l $$;
CREATE FUNCTION expected(span text, k int, at timestamptz, hidden text) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    hour timestamptz := date_trunc('hour', at);
    since timestamptz := '-infinity';
    until timestamptz := 'infinity';
    list text;
BEGIN
    IF span = 'hour' THEN RETURN expected_between(hour, hour + interval '1 hour', k, hidden); END IF;
    IF span LIKE '% %' THEN RETURN expected_between(hour + interval '1 hour' - span::interval, hour + interval '1 hour', k, hidden); END IF;
    IF span <> 'all_time' THEN
        since := date_trunc(span, at);
        until := since + ('1 ' || span)::interval;
    END IF;
    SELECT string_agg(format('%s %s', video_id, views), ',') INTO list FROM (SELECT video_id, sum(views) AS views FROM (
        SELECT video_id, views FROM truth WHERE hour_start >= since AND hour_start < until
        UNION ALL SELECT video_id, views FROM spans_late l WHERE l.span = expected.span AND l.window_start = since) p
        WHERE video_id <> hidden GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT k) l;
    RETURN list;
END $$;
CREATE FUNCTION listed(span text, k int, at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT string_agg(format('%s %s', video_id, views), ',' ORDER BY rank) FROM topk(span, k, at, 'spans') $$;
CREATE FUNCTION listed_between(since timestamptz, until timestamptz, k int) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT string_agg(format('%s %s', video_id, views), ',' ORDER BY rank) FROM topk.between(since, until, k, 'spans') $$;
SELECT expected('day', 3, '2026-01-30 12:00Z', ''), expected('month', 3, '2026-01-30 12:00Z', ''), expected('all_time', 3, '2026-01-30 12:00Z', ''), expected('2 hours', 3, '2026-01-30 12:00Z', '');

-- The roll-ups as they are when they have come to these positions.
CREATE PROCEDURE roll_up(day timestamptz, day_id text, month timestamptz DEFAULT '-infinity', month_id text DEFAULT '', all_time timestamptz DEFAULT NULL, all_time_id text DEFAULT NULL)
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM topk.roll_up_marker WHERE counter = 'spans';
    DELETE FROM spans_day_rollup; DELETE FROM spans_month_rollup; DELETE FROM spans_all_time_rollup;
    INSERT INTO topk.roll_up_marker VALUES ('spans', 'day', day, day_id), ('spans', 'month', month, month_id), ('spans', 'all_time', coalesce(all_time, month), coalesce(all_time_id, month_id));
    INSERT INTO spans_day_rollup SELECT day_start, video_id, sum(views) FROM truth WHERE (hour_start, video_id) <= (day, day_id) GROUP BY 1, 2;
    INSERT INTO spans_month_rollup SELECT date_trunc('month', window_start), video_id, sum(views) FROM spans_day_rollup WHERE (window_start, video_id) <= (month, month_id) GROUP BY 1, 2;
    INSERT INTO spans_all_time_rollup SELECT '-infinity'::timestamptz, video_id, sum(views) FROM spans_day_rollup WHERE (window_start, video_id) <= (coalesce(all_time, month), coalesce(all_time_id, month_id)) GROUP BY 1, 2;
END $$;
-- All that differ from truth, in the roll-up's present state.
CREATE FUNCTION wrong(hidden text DEFAULT '', since timestamptz DEFAULT '2026-01-30Z') RETURNS TABLE (what text, found text, wanted text) LANGUAGE sql STABLE AS $$
    SELECT format('%s at %s top %s', span, at, k), listed(span, k, at), expected(span, k, at, hidden)
        FROM unnest('{hour,day,month,all_time,"1 hour","5 hours","24 hours","40 hours","2 days","3 days","5 days"}'::text[]) span,
            unnest('{2026-01-31 23:10Z,2026-02-01 03:10Z,2026-02-02 23:59Z,2026-02-03 11:00Z}'::timestamptz[]) at, unnest('{2,100}'::int[]) k
        WHERE (span IN ('month', 'all_time') OR date_trunc('hour', at) + interval '1 hour' - (CASE WHEN span ~ ' ' THEN span ELSE '1 ' || span END)::interval >= since)
            AND listed(span, k, at) IS DISTINCT FROM expected(span, k, at, hidden)
    UNION ALL SELECT format('%s to %s top %s', s, u, k), listed_between(s, u, k), expected_between(s, u, k, hidden)
        FROM unnest('{2026-01-01Z,2026-01-30Z,2026-01-30 05:00Z,2026-01-31Z,2026-02-01Z,2026-02-01 07:00Z}'::timestamptz[]) s,
            unnest('{2026-01-31Z,2026-01-31 09:00Z,2026-02-01Z,2026-02-02 02:00Z,2026-02-03Z,2026-03-01Z}'::timestamptz[]) u, unnest('{4}'::int[]) k
        WHERE s < u AND s >= since AND listed_between(s, u, k) IS DISTINCT FROM expected_between(s, u, k, hidden) $$;
SELECT * FROM wrong();

-- At every hour, and at every row of some: of the first of a day, of one within, of the last of a month.
DO $$
DECLARE
    at record;
    n int := 0;  -- every other time the days are rolled up, too
    bad record;
BEGIN
    FOR at IN SELECT h AS hour, id FROM generate_series('2026-01-30Z'::timestamptz, '2026-02-03 12:00Z', '13 hours') h, unnest('{""}'::text[]) id
        UNION ALL SELECT h, id FROM unnest('{2026-01-30Z,2026-01-31 23:00Z,2026-02-02 06:00Z}'::timestamptz[]) h, unnest('{u,v01,v07,w}'::text[]) id LOOP
        CALL roll_up(at.hour, at.id, CASE WHEN n % 2 = 0 THEN date_trunc('day', at.hour) ELSE '-infinity' END);
        n := n + 1;
        FOR bad IN SELECT * FROM wrong() LIMIT 1 LOOP RAISE EXCEPTION 'at % "%": % is %, wanted %', at.hour, at.id, bad.what, bad.found, bad.wanted; END LOOP;
    END LOOP;
    -- Months and all time: within a day, at different places.
    FOR at IN SELECT d AS day, id FROM unnest('{2026-01-30Z,2026-01-31Z,2026-02-01Z,2026-02-02Z}'::timestamptz[]) d, unnest('{u,v03,w}'::text[]) id LOOP
        CALL roll_up('2026-02-03 07:00Z', 'v06', at.day, at.id, '2026-02-01Z', 'v02');
        FOR bad IN SELECT * FROM wrong() LIMIT 1 LOOP RAISE EXCEPTION 'day % "%": % is %, wanted %', at.day, at.id, bad.what, bad.found, bad.wanted; END LOOP;
    END LOOP;
END $$;

-- The lists. Of the hour at the marker, what it lacks.
CALL roll_up('2026-02-02 06:00Z', 'v04', '2026-02-01Z', 'v02');
SELECT list FROM topk.explain('day', 5, '2026-02-02Z', 'spans') WHERE list !~ 'hour .* [12]';
SELECT list FROM topk.explain('month', 5, '2026-01-31Z', 'spans');
SELECT list FROM topk.explain('month', 5, '2026-02-01Z', 'spans') WHERE list NOT LIKE 'hour%' OR list LIKE '%(rest)';
SELECT list FROM topk.explain('all_time', 5, NULL, 'spans') WHERE list NOT LIKE 'hour%' OR list LIKE '%(rest)';
SELECT list FROM topk.explain('52 hours', 5, '2026-02-02 01:00Z', 'spans');
SELECT list FROM topk.explain('72 hours', 5, '2026-02-01 23:00Z', 'spans');
SELECT span, ended FROM unnest('{day,month,all_time,"60 hours"}'::text[]) span, topk.explain(span, 5, '2026-02-02 08:00Z', 'spans') WHERE list = 'all';

-- Added up, as nothing else can be in a transaction that has written and has one snapshot.
BEGIN ISOLATION LEVEL REPEATABLE READ;
INSERT INTO spans_late VALUES ('day', '2020-01-01', 'x', 1);
SELECT DISTINCT ended FROM unnest('{day,month,all_time,"60 hours"}'::text[]) span, topk.explain(span, 5, '2026-02-02 08:00Z', 'spans') WHERE list = 'all';
SELECT * FROM wrong();
CALL roll_up('2026-02-03 00:00Z', '', '2026-02-02Z', '');
SELECT * FROM wrong();
ROLLBACK;
BEGIN;
DROP INDEX spans_hour_window_start_views_video_id_idx;
SELECT DISTINCT ended FROM unnest('{day,month,all_time,"60 hours"}'::text[]) span, topk.explain(span, 5, '2026-02-02 08:00Z', 'spans') WHERE list = 'all';
SELECT * FROM wrong();
ROLLBACK;

-- SELECT is needed on every table that a list is read from.
CREATE ROLE regress_topk_hours; CREATE ROLE regress_topk_policed;
GRANT SELECT ON spans_hour TO regress_topk_hours;
SET ROLE regress_topk_hours;
SELECT count(*) FROM topk('5 hours', 5, '2026-02-01 03:00Z', 'spans');
SELECT t.error(format('SELECT * FROM topk(%L, 5, %L, %L)', span, '2026-02-01 23:00Z', 'spans')) FROM unnest('{24 hours,72 hours,day}'::text[]) span;
SELECT t.error($$SELECT * FROM topk.explain('24 hours', 5, '2026-02-01 23:00Z', 'spans')$$);
RESET ROLE;
-- Policies: every part of the span is of the rows they show.
SELECT topk.grant_access('regress_topk_policed', 'read', 'spans');
GRANT SELECT ON truth TO regress_topk_policed;
ALTER TABLE spans_hour ENABLE ROW LEVEL SECURITY; ALTER TABLE spans_day_rollup ENABLE ROW LEVEL SECURITY; ALTER TABLE spans_month_rollup ENABLE ROW LEVEL SECURITY;
ALTER TABLE spans_all_time_rollup ENABLE ROW LEVEL SECURITY; ALTER TABLE spans_late ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON spans_hour USING (video_id <> 'v01'); CREATE POLICY p ON spans_day_rollup USING (video_id <> 'v01'); CREATE POLICY p ON spans_month_rollup USING (video_id <> 'v01');
CREATE POLICY p ON spans_all_time_rollup USING (video_id <> 'v01'); CREATE POLICY p ON spans_late USING (video_id <> 'v01');
SET ROLE regress_topk_policed;
SELECT DISTINCT ended FROM unnest('{day,month,all_time,"60 hours"}'::text[]) span, topk.explain(span, 5, '2026-02-02 08:00Z', 'spans') WHERE list = 'all';
SELECT * FROM wrong('v01');
RESET ROLE;

-- Tables of a version without markers and expiry: nothing is rolled up, nothing has expired.
BEGIN;
CALL roll_up('-infinity', '');
ALTER TABLE topk.roll_up_marker RENAME TO no_markers;
ALTER TABLE topk.counter_data RENAME hours_expired_through TO nothing_expired; ALTER TABLE topk.counter_data RENAME days_expired_through TO nothing_expired_either;
SELECT * FROM wrong();
ROLLBACK;

-- The hours of the first month have expired: they are in its days, which serve wherever they are whole. The marker is beyond.
CALL roll_up('2026-02-02 06:00Z', 'v04', '2026-02-01Z', 'v02');
UPDATE topk.counter_data SET hours_expired_through = '2026-02-01Z' WHERE name = 'spans';
SELECT t.error(q) FROM unnest(ARRAY[$$SELECT * FROM topk('hour', 5, '2026-01-31 05:30Z', 'spans')$$, $$SELECT * FROM topk('24 hours', 5, '2026-02-01 03:00Z', 'spans')$$,
    $$SELECT * FROM topk('5 hours', 5, '2026-02-01 03:00Z', 'spans')$$, $$SELECT * FROM topk.between('2026-01-30 05:00Z', '2026-02-02Z', 5, 'spans')$$,
    $$SELECT * FROM topk.explain('5 hours', 5, '2026-02-01 03:00Z', 'spans')$$]) q;
SET ROLE regress_topk_policed;
SELECT t.error(q) FROM unnest(ARRAY[$$SELECT * FROM topk('hour', 5, '2026-01-31 05:30Z', 'spans')$$, $$SELECT * FROM topk('24 hours', 5, '2026-02-01 03:00Z', 'spans')$$]) q;
RESET ROLE;
DROP TABLE spans_hour_20260130;
DELETE FROM spans_hour WHERE window_start < '2026-02-01Z';
SELECT * FROM wrong('', '2026-02-01Z');
SELECT span, at, k, listed(span, k, at) = expected(span, k, at, '') AS same FROM unnest('{month,2 days}'::text[]) span, unnest('{2026-01-31 23:10Z}'::timestamptz[]) at, unnest('{1,100}'::int[]) k;
SELECT listed_between('2026-01-30Z', '2026-02-01 05:00Z', 100) = expected_between('2026-01-30Z', '2026-02-01 05:00Z', 100, '') AS same,
    listed_between('2026-01-31Z', '2026-02-02 03:00Z', 100) = expected_between('2026-01-31Z', '2026-02-02 03:00Z', 100, '') AS same;
SET ROLE regress_topk_policed;
SELECT * FROM wrong('v01', '2026-02-01Z');
RESET ROLE;
-- Then the days: the month's list serves where all of it is asked for.
UPDATE topk.counter_data SET days_expired_through = '2026-02-01Z' WHERE name = 'spans';
SELECT t.error(q) FROM unnest(ARRAY[$$SELECT * FROM topk('day', 5, '2026-01-31 05:30Z', 'spans')$$, $$SELECT * FROM topk('48 hours', 5, '2026-02-01 23:00Z', 'spans')$$,
    $$SELECT * FROM topk.between('2026-01-31Z', '2026-02-02Z', 5, 'spans')$$]) q;
SET ROLE regress_topk_policed;
SELECT t.error($$SELECT * FROM topk('day', 5, '2026-01-31 05:30Z', 'spans')$$);
RESET ROLE;
DELETE FROM spans_day_rollup WHERE window_start < '2026-02-01Z';
SELECT * FROM wrong('', '2026-02-01Z');
SELECT listed('month', 100, '2026-01-31 23:10Z') = expected('month', 100, '2026-01-31 23:10Z', '') AS same, listed('3 days', 100, '2026-02-01 23:10Z') = expected('3 days', 100, '2026-02-01 23:10Z', '') AS same,
    listed_between('2026-01-01Z', '2026-02-01 05:00Z', 100) = expected_between('2026-01-01Z', '2026-02-01 05:00Z', 100, '') AS same;
-- Days that expired before their hours did are read from the hours.
BEGIN;
CALL roll_up('2026-02-03 06:00Z', '', '2026-02-03Z', '');
UPDATE topk.counter_data SET days_expired_through = '2026-02-02Z' WHERE name = 'spans';
DELETE FROM spans_day_rollup WHERE window_start < '2026-02-02Z';
SELECT listed_between('2026-02-01Z', '2026-02-02 05:00Z', 100) = expected_between('2026-02-01Z', '2026-02-02 05:00Z', 100, '') AS same;
ROLLBACK;
-- An hour that has not expired, without its partition: it is not taken for one without views.
BEGIN;
DROP TABLE spans_hour_20260203;
SELECT t.error(q) FROM unnest(ARRAY[$$SELECT * FROM topk('hour', 5, '2026-02-03 05:30Z', 'spans')$$, $$SELECT * FROM topk('5 hours', 5, '2026-02-03 02:00Z', 'spans')$$,
    $$SELECT * FROM topk('day', 5, '2026-02-03Z', 'spans')$$, $$SELECT * FROM topk('all_time', 5, NULL, 'spans')$$, $$SELECT * FROM topk.explain('day', 5, '2026-02-03Z', 'spans')$$]) q;
SELECT count(*) FROM topk('day', 5, '2026-02-01Z', 'spans');
ROLLBACK;

DROP FUNCTION wrong, listed, listed_between, expected, expected_between;
DROP PROCEDURE roll_up;
DROP TABLE truth;
SELECT topk.drop_counter('spans');
DROP OWNED BY regress_topk_hours, regress_topk_policed;
DROP ROLE regress_topk_hours, regress_topk_policed;
