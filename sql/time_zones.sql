-- Windows in time zones off the hour and across changes of the clock: bounds, what is sealed at which watermark, late views.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = warning; SET jit = off;

-- A counter of that zone with one view every 20 minutes around an instant, a day each way.
CREATE FUNCTION feed(zone text, around timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM topk.create_counter(time_zone => zone);
    PERFORM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{1000}');
    PERFORM topk.flush('video_views', 'events', (SELECT t.deltas(VARIADIC array_agg(t.hour(start, t.entry('v', views)) ORDER BY start)) FROM (
            SELECT h.hour_start AS start, count(*) AS views FROM topk.hours('video_views', around - interval '1 day', around + interval '1 day') h
            JOIN generate_series(around - interval '1 day', around + interval '1 day', '20 min') event ON event >= h.hour_start AND event < h.hour_end GROUP BY 1) sums),
        NULL, NULL, ARRAY[t.advance(0, 1, 0, 1, around - interval '3 days')]);
END $$;
-- Seals at the watermark, and says which windows of time_window are sealed otherwise than their ends say.
CREATE FUNCTION seal_at(reached timestamptz) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    next bigint := (SELECT next_offset FROM topk.kafka_progress);
BEGIN
    PERFORM topk.flush('video_views', 'events', t.deltas(), NULL, NULL, ARRAY[t.advance(0, 1, next, next + 1, reached)]);
    CALL topk.seal();
    RETURN (SELECT count(*) FROM topk.time_window WHERE sealed <> (window_end + interval '60 s' <= reached));
END $$;
CREATE VIEW windows AS SELECT span, window_start, window_end, window_end - window_start AS duration, sealed,
    (SELECT count(*) FROM topk.time_window h WHERE h.span = 'hour' AND h.window_start >= w.window_start AND h.window_start < w.window_end) AS hours
    FROM topk.time_window w WHERE span IN ('day', 'month') ORDER BY 1, 2;
-- A day is from local midnight to local midnight, a month from the first to the first.
CREATE FUNCTION off_midnight(zone text) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM topk.time_window WHERE span IN ('day', 'month')
        AND (window_start AT TIME ZONE zone <> date_trunc(span, window_start AT TIME ZONE zone) OR window_end AT TIME ZONE zone <> date_trunc(span, window_start AT TIME ZONE zone) + ('1 ' || span)::interval) $$;
-- Sealed a microsecond early, or not in time: tried at the end and lateness of every hour that has a partition.
CREATE FUNCTION wrong_seals() RETURNS bigint LANGUAGE sql AS $$
    SELECT sum(seal_at(reached)) FROM (SELECT window_end + interval '60 s' + m * interval '1 us' AS reached FROM topk.time_window, generate_series(-1, 0) m WHERE span = 'hour' ORDER BY 1) r $$;

SELECT feed('Asia/Kolkata', '2021-01-01Z');
SELECT * FROM windows;
SELECT off_midnight('Asia/Kolkata'), wrong_seals();
SELECT * FROM windows;
SELECT topk.drop_counter('video_views');

SELECT feed('Asia/Kathmandu', '2021-02-28 18:15Z');
SELECT off_midnight('Asia/Kathmandu'), wrong_seals();
SELECT * FROM windows;
SELECT topk.drop_counter('video_views');

-- 23 and 25 hours; St. John's is at -03:30, and at -02:30 in summer.
SELECT feed('America/St_Johns', '2021-03-14 12:00Z');
SELECT off_midnight('America/St_Johns'), wrong_seals();
SELECT * FROM windows;
SELECT topk.drop_counter('video_views');
SELECT feed('America/St_Johns', '2021-11-07 12:00Z');
SELECT off_midnight('America/St_Johns'), wrong_seals();
SELECT * FROM windows;
-- The hour that was lived twice is two, sealed one after the other.
SELECT window_start, window_end, window_start AT TIME ZONE 'America/St_Johns' AS local FROM topk.time_window WHERE span = 'hour' AND window_start BETWEEN '2021-11-07 02:30Z' AND '2021-11-07 05:30Z' ORDER BY 1;
SELECT topk.drop_counter('video_views');
-- Half hours: Lord Howe moves its clock by thirty minutes.
SELECT feed('Australia/Lord_Howe', '2021-04-03 15:00Z');
SELECT off_midnight('Australia/Lord_Howe'), wrong_seals();
SELECT * FROM windows;
SELECT topk.drop_counter('video_views');
SELECT feed('Europe/Berlin', '2021-10-31 00:30Z');
SELECT off_midnight('Europe/Berlin');

-- Late views enter the local day of 25 hours until its very end is sealed, and the month, which ends with it here.
CREATE FUNCTION late(hour timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    next bigint := (SELECT next_offset FROM topk.kafka_progress);
BEGIN
    PERFORM topk.flush('video_views', 'events', t.deltas(), ARRAY[ROW(hour, 'late', 1, 1)]::topk.flush_late[], NULL, ARRAY[ROW(0, 1, next, next + 1, next, 1, 1, NULL, 0, 1, 0, 0)::topk.flush_progress]);
END $$;
SELECT seal_at('2021-10-31 22:01Z');
SELECT late('2021-10-30 22:00Z'), late('2021-10-31 00:00Z'), late('2021-10-31 01:00Z'), late('2021-10-30 21:00Z');
SELECT * FROM video_views_late ORDER BY 1, 2;
SELECT seal_at('2021-10-31 23:00:59Z');
SELECT late('2021-10-31 01:00Z');
SELECT * FROM video_views_late ORDER BY 1, 2;
SELECT seal_at('2021-10-31 23:01Z');
SELECT late('2021-10-31 01:00Z');
SELECT * FROM video_views_late ORDER BY 1, 2;
SELECT topk.drop_counter('video_views');

-- A lateness of days or months is as long as its epoch, in whatever time zone the sealer's session is.
SELECT topk.create_counter(time_zone => 'Europe/Berlin', lateness => '1 day');
SELECT partition FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{1000}');
SELECT topk.flush('video_views', 'events', t.deltas(), NULL, NULL, ARRAY[t.advance(0, 1, 0, 1, '2021-10-31 12:00Z')]);
SET timezone = 'Europe/Berlin';
CALL topk.seal();
SET timezone = 'UTC';
SELECT sealed_through FROM topk.counter;
SELECT topk.drop_counter('video_views');

-- Hours as they were stored win over those of today's calendar, in the ends of windows too.
SELECT topk.create_counter();
SELECT partition FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{1000}');
INSERT INTO topk.hour_map SELECT 'video_views', h, h + interval '1 hour', '2021-05-01 00:30Z', '2021-05-01 00:30Z' FROM generate_series('2021-05-01 00:30Z'::timestamptz, '2021-05-01 23:30Z', '1 hour') h;
SELECT * FROM windows;
SELECT wrong_seals();
SELECT topk.drop_counter('video_views');
DROP VIEW windows;
DROP FUNCTION feed, seal_at, off_midnight, wrong_seals, late;
