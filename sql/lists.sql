-- topk(): order, ties, spans, bounds, and the plan of the hour.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = warning;
SELECT topk.create_counter(time_zone => 'America/Havana');
SELECT partition FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{100}');
-- Havana's 1 November 2020 has 25 hours, from 04:00Z; its midnight comes at 04:00Z and at 05:00Z.
SELECT topk.flush('video_views', 'events', t.deltas(
    t.hour('2020-11-01 03:00Z', t.entry('a', 100)),
    t.hour('2020-11-01 04:00Z', t.entry('B', 5), t.entry('a', 5), t.entry('b', 5), t.entry('z', 9), t.entry('é', 5)),
    t.hour('2020-11-01 05:00Z', t.entry('a', 1), t.entry('b', 7)),
    t.hour('2020-11-02 04:00Z', t.entry('b', 1)),
    t.hour('2020-11-02 05:00Z', t.entry('a', 50)),
    t.hour('2020-12-01 05:00Z', t.entry('c', 1000))), NULL, NULL, ARRAY[t.advance(0, 1, 0, 10)]);

-- Views descending, then ids bytewise.
SELECT * FROM topk('hour', 10, '2020-11-01 04:59:59.999999Z');
SELECT * FROM topk('hour', 3, '2020-11-01 04:00Z');
SELECT * FROM topk.top('hour', 1, '2020-11-01 05:00Z');
SELECT * FROM topk('day', 10, '2020-11-01 12:00Z');
SELECT * FROM topk('day', 10, '2020-11-02 04:59Z');
SELECT * FROM topk('day', 10, '2020-11-02 05:00Z');
SELECT * FROM topk('month', 3, '2020-11-15Z');
SELECT * FROM topk('month', 3, '2020-11-01 03:00Z');
SELECT * FROM topk('all_time', 2);
SELECT count(*) FROM topk('hour', 1000, '2000-01-01Z');
-- Whole hours that end with the hour of "at".
SELECT * FROM topk('1 hour', 2, '2020-11-01 05:30Z');
SELECT * FROM topk('2 hours', 10, '2020-11-01 05:30Z');
SELECT * FROM topk('26 hours', 2, '2020-11-02 05:30Z') UNION ALL SELECT * FROM topk('1 day 02:00', 2, '2020-11-02 05:30Z');
SELECT * FROM topk('27 hours', 1, '2020-11-02 05:30Z');
SELECT * FROM topk('60 days', 1, '2020-12-01 05:30Z');
-- The same as the views.
SELECT span, (SELECT count(*) FROM (SELECT video_id, views FROM topk(span, 1000, '2020-11-15Z') EXCEPT SELECT video_id, views FROM video_views_month WHERE window_start = '2020-11-01 04:00Z') x) AS differences,
    (SELECT count(*) FROM video_views_month WHERE window_start = '2020-11-01 04:00Z') AS videos FROM (VALUES ('month')) s (span);
SELECT DISTINCT window_start FROM video_views_day ORDER BY 1;

-- "at" is now unless told; a read-only transaction is enough.
BEGIN READ ONLY ISOLATION LEVEL SERIALIZABLE;
SELECT count(*) FROM topk('hour') UNION ALL SELECT count(*) FROM topk('day') UNION ALL SELECT count(*) FROM topk('month') UNION ALL SELECT count(*) FROM topk('3 hours');
COMMIT;
-- One snapshot: a cursor opened before a flush does not see it.
BEGIN;
DECLARE before CURSOR FOR SELECT n, l.* FROM generate_series(1, 2) n, LATERAL topk('hour', 1, '2020-11-01 05:00Z') l WHERE n > 0;
FETCH 1 FROM before;
SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-11-01 05:00Z', t.entry('b', 7))), NULL, NULL, ARRAY[t.advance(0, 1, 10, 11)]);
FETCH 1 FROM before;
SELECT * FROM topk('hour', 1, '2020-11-01 05:00Z');
ROLLBACK;

-- The plan of the statement behind topk('hour'): one partition, in the order of its index, no sort.
SELECT topk.flush('video_views', 'events', (SELECT t.deltas(t.hour('2020-11-01 05:00Z', VARIADIC array_agg(t.entry('v' || lpad(i::text, 4, '0'), i % 100 + 1) ORDER BY i))) FROM generate_series(1, 5000) i),
    NULL, NULL, ARRAY[t.advance(0, 1, 10, 11)]);
ANALYZE video_views_hour;
SET enable_indexonlyscan = off;
EXPLAIN (COSTS OFF) SELECT video_id, views FROM video_views_hour WHERE window_start = '2020-11-01 05:00Z' ORDER BY views DESC, video_id LIMIT 10;
RESET enable_indexonlyscan;
SELECT * FROM topk('hour', 3, '2020-11-01 05:00Z');

-- The best of an hour are gone but for a few: the list goes on with what the index does not keep.
BEGIN;
INSERT INTO video_views_hour SELECT '2020-11-01 03:00Z', 'w' || n, n FROM generate_series(1, 20000) n;
DELETE FROM video_views_hour WHERE window_start = '2020-11-01 03:00Z' AND views BETWEEN 14000 AND 19990;
SELECT count(*), min(views), max(views), bool_and(video_id = 'w' || views) AS theirs FROM topk('hour', 1000, '2020-11-01 03:00Z');
SELECT count(*) AS differences FROM (SELECT * FROM topk('hour', 1000, '2020-11-01 03:00Z') EXCEPT
    SELECT row_number() OVER (ORDER BY views DESC), video_id, views FROM video_views_hour WHERE window_start = '2020-11-01 03:00Z' AND views > 13000) x;
ROLLBACK;

-- Refusals.
SELECT t.error(format('SELECT * FROM topk(%L)', span)) FROM unnest(ARRAY['', 'week', 'HOUR', '0 hours', '-1 hours', '90 minutes', '1 month', '1 year', '10001 hours', 'infinity', repeat('x', 1000), '24 hours garbage']) span;
SELECT t.error(format('SELECT * FROM topk(%L, %s)', 'hour', k)) FROM unnest(ARRAY[0, -1, 1001]) k;
SELECT t.error($$SELECT * FROM topk(NULL)$$);
SELECT t.error($$SELECT * FROM topk('hour', NULL)$$);
SELECT t.error($$SELECT * FROM topk('hour', counter => NULL)$$);
SELECT t.error($$SELECT * FROM topk('hour', at => 'infinity')$$);
SELECT t.error($$SELECT * FROM topk('hour', at => '-infinity')$$);
SELECT t.error($$SELECT * FROM topk('hour', counter => 'no such')$$);
SELECT topk.drop_counter('video_views');
