-- The exact merge: lists of several hours equal sums of all rows, whether merged or added up; topk.between; topk.explain.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = warning;
SELECT topk.create_counter();
SELECT partition FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{100}');
-- What a list must be, by the views; how it was found, without the numbers that depend on the machine.
CREATE FUNCTION by_views(span text, k int, at timestamptz) RETURNS TABLE (rank bigint, video_id text, views bigint) LANGUAGE sql STABLE AS $$
    SELECT row_number() OVER (ORDER BY views DESC, video_id), video_id, views FROM (
        SELECT video_id, views FROM video_views_day WHERE span = 'day' AND window_start = date_trunc('day', at)
        UNION ALL SELECT video_id, views FROM video_views_month WHERE span = 'month' AND window_start = date_trunc('month', at)
        UNION ALL SELECT video_id, views FROM video_views_all_time WHERE span = 'all_time') v ORDER BY 1 LIMIT k $$;
CREATE FUNCTION differences(span text, k int, at timestamptz) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT count(*) FROM topk(span, k, at) l FULL JOIN by_views(span, k, at) v USING (rank, video_id, views) WHERE l IS NULL OR v IS NULL $$;
CREATE FUNCTION ended(span text, k int, at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$ SELECT ended FROM topk.explain(span, k, at) WHERE list = 'all' $$;

-- A day of 24 hours, 400 videos whose order changes from hour to hour, and ties among them.
SELECT topk.flush('video_views', 'events', (SELECT t.deltas(VARIADIC array_agg(h ORDER BY n)) FROM (
    SELECT n, t.hour('2026-01-02 00:00Z'::timestamptz + n * interval '1 hour',
        VARIADIC (SELECT array_agg(t.entry('v' || lpad(v::text, 3, '0'), 1 + (1000 / v) * (1 + (v * 7 + n * 3) % 5)) ORDER BY v) FROM generate_series(1, 400) v)) AS h
    FROM generate_series(0, 23) n) hours), ARRAY[ROW('2026-01-02 05:00Z', 'v001', 100000, 1), ROW('2026-01-02 05:00Z', 'late', 3000, 1), ROW('2026-01-01 05:00Z', 'v002', 70000, 1)]::topk.flush_late[],
    NULL, ARRAY[t.advance(0, 1, 0, 10)]);
SELECT span, k, differences(span, k, '2026-01-02 12:00Z'), ended(span, k, '2026-01-02 12:00Z')
    FROM unnest('{day,month,all_time}'::text[]) span, unnest('{1,10,100}'::int[]) k ORDER BY span, k;
SELECT span, differences(span, 1000, '2026-01-02 12:00Z') FROM unnest('{day,month,all_time}'::text[]) span;
SELECT * FROM topk('day', 3, '2026-01-02Z');
SELECT * FROM topk('all_time', 3);
-- It does not read all: ten of 400 rows an hour, and what they lack.
SELECT list, rows_read < 100 AS few, ended FROM topk.explain('day', 10, '2026-01-02Z') WHERE list NOT LIKE 'hour%' OR list LIKE '% 03:%';
SELECT sum(rows_read) FILTER (WHERE list <> 'all') = sum(rows_read) FILTER (WHERE list = 'all') AS read,
    sum(lookups) FILTER (WHERE list <> 'all') = sum(lookups) FILTER (WHERE list = 'all') AS looked_up, count(*) FROM topk.explain('day', 10, '2026-01-02Z');
SELECT list, rows_read, lookups, last_views, ended FROM topk.explain('hour', 1000, '2026-01-02 03:30Z') WHERE list <> 'all';

-- A young counter, of whose day one hour has rows: the empty ones do not make the merge look dear, and it is done.
SELECT topk.create_counter('young');
SELECT partition FROM topk.claim('young', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{100}');
SELECT topk.flush('young', 'events', t.deltas(t.hour('2026-01-02 05:00Z', VARIADIC (SELECT array_agg(t.entry('v' || lpad(v::text, 5, '0'), 1 + 1000000 / v) ORDER BY v)
    FROM generate_series(1, 15000) v))), NULL, NULL, ARRAY[t.advance(0, 1, 0, 10)]);
SELECT list, estimated_rows > 0 AS has_rows, rows_read, lookups, ended FROM topk.explain('day', 1000, '2026-01-02Z', 'young') WHERE rows_read > 0 OR list ~ ' (04|06):|late';
SELECT count(*) FROM (SELECT * FROM topk('day', 1000, '2026-01-02Z', 'young') EXCEPT
    SELECT row_number() OVER (ORDER BY views DESC, video_id), video_id, views FROM young_hour) differences;
SELECT topk.drop_counter('young');

-- Whole hours: without what came late.
SELECT * FROM topk.between('2026-01-02 03:00Z', '2026-01-02 04:00Z', 2) UNION ALL SELECT * FROM topk('hour', 2, '2026-01-02 03:59Z');
SELECT count(*) AS differences FROM topk.between('2026-01-02Z', '2026-01-03Z', 100) l FULL JOIN (
    SELECT row_number() OVER (ORDER BY sum(views) DESC, video_id) AS rank, video_id, sum(views)::bigint AS views FROM video_views_hour GROUP BY video_id) v USING (rank, video_id, views)
    WHERE l IS NULL AND rank <= 100 OR v IS NULL;
SELECT count(*) FROM (SELECT * FROM topk.between('2026-01-02 20:00Z', '2026-01-03 02:00Z', 50) EXCEPT SELECT * FROM topk('6 hours', 50, '2026-01-03 01:30Z')) x;
SELECT count(*) FROM topk.between('2000-01-01Z', '2001-01-01Z');
SELECT count(*) FROM topk.between('2000-01-01Z', '2100-01-01Z', 1000);
SELECT t.error(format('SELECT * FROM topk.between(%L, %L)', since, until)) FROM (VALUES
    ('2026-01-02 00:30Z', '2026-01-02 03:00Z'), ('2026-01-02 00:00Z', '2026-01-02 03:00:00.000001Z'), ('2026-01-02 03:00Z', '2026-01-02 03:00Z'),
    ('2026-01-02 03:00Z', '2026-01-02 02:00Z'), ('-infinity', '2026-01-02 02:00Z'), (NULL, '2026-01-02 02:00Z')) v (since, until);
SELECT t.error($$SELECT * FROM topk.between('2026-01-02Z', '2026-01-03Z', 0)$$);
SELECT t.error($$SELECT * FROM topk.between('2026-01-02Z', '2026-01-03Z', counter => 'no such')$$);
SELECT t.error($$SELECT * FROM topk.explain('week')$$);

-- Its own uncommitted rows, a savepoint rolled back, a cursor's older snapshot.
BEGIN;
INSERT INTO video_views_hour VALUES ('2026-01-02 07:00Z', 'mine', 500000);
SAVEPOINT s;
DELETE FROM video_views_hour WHERE video_id = 'v001' AND window_start < '2026-01-02 12:00Z';
UPDATE video_views_hour SET views = views * 50 WHERE video_id = 'v200';
SELECT differences('day', 5, '2026-01-02Z'), ended('day', 5, '2026-01-02Z'), l.* FROM topk('day', 3, '2026-01-02Z') l;
ROLLBACK TO s;
SELECT differences('day', 5, '2026-01-02Z'), l.* FROM topk('day', 2, '2026-01-02Z') l;
DECLARE earlier CURSOR FOR SELECT n, l.* FROM generate_series(1, 2) n, LATERAL topk('day', 1, '2026-01-02Z') l WHERE n > 0;
FETCH 1 FROM earlier;
DELETE FROM video_views_hour WHERE video_id = 'mine';
FETCH 1 FROM earlier;
SELECT * FROM topk('day', 1, '2026-01-02Z');
ROLLBACK;

-- Only with one snapshot for all: a row of one's own can have a second one of its key beside it, which others deleted meanwhile.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT ended('day', 5, '2026-01-02Z');
INSERT INTO video_views_hour VALUES ('2026-01-02 07:00Z', 'mine', 500000);
SELECT differences('day', 5, '2026-01-02Z'), ended('day', 5, '2026-01-02Z');
ROLLBACK;

-- Flat, so that only ids decide; nothing in common; too many hours.
BEGIN;
UPDATE video_views_hour SET views = 1;
DELETE FROM video_views_late;
SELECT k, differences('day', k, '2026-01-02Z'), ended('day', k, '2026-01-02Z') FROM unnest('{1,10,300}'::int[]) k;
UPDATE video_views_hour SET video_id = video_id || to_char(window_start, 'HH24');
SELECT k, differences('day', k, '2026-01-02Z'), ended('day', k, '2026-01-02Z') FROM unnest('{1,10,100}'::int[]) k;
ROLLBACK;
BEGIN;
SELECT topk.flush('video_views', 'events', (SELECT t.deltas(VARIADIC array_agg(t.hour(h, t.entry('v001', 1)) ORDER BY h)) FROM generate_series('2026-01-03 00:00Z'::timestamptz, '2026-01-14 23:00Z', '1 hour') h), NULL, NULL, ARRAY[t.advance(0, 1, 10, 11)]);
SELECT span, differences(span, 10, '2026-01-02Z'), ended(span, 10, '2026-01-02Z') FROM unnest('{month,all_time}'::text[]) span;
ROLLBACK;

-- What cannot be merged is added up: no index, a partition or rows that were made by hand, a sum that no bigint holds.
BEGIN;
DROP INDEX video_views_late_span_window_start_views_video_id_idx;
SELECT differences('day', 10, '2026-01-02Z'), ended('day', 10, '2026-01-02Z');
ROLLBACK;
BEGIN;
CREATE TABLE by_hand (more int, views bigint NOT NULL CONSTRAINT video_views_hour_views_check CHECK (views > 0), window_start timestamptz NOT NULL, video_id text COLLATE "C" NOT NULL);
ALTER TABLE by_hand DROP COLUMN more;
ALTER TABLE video_views_hour ATTACH PARTITION by_hand FOR VALUES FROM ('2026-02-01') TO ('2026-02-02');
SELECT differences('all_time', 10, '2026-02-01Z'), ended('all_time', 10, '2026-02-01Z') AS while_it_is_empty;
INSERT INTO by_hand VALUES (777777, '2026-02-01 01:00Z', 'hand');
-- Without an hour in the map it is of no day, so that no view and no roll-up has it.
SELECT (SELECT count(*) FROM video_views_all_time WHERE video_id = 'hand') AS in_view, ended('all_time', 10, '2026-02-01Z'), l.* FROM topk('day', 1, '2026-02-01Z') l;
INSERT INTO topk.hour_map VALUES ('video_views', '2026-02-01 01:00Z', '2026-02-01 02:00Z', '2026-02-01', '2026-02-01');
SELECT span, differences(span, 10, '2026-02-01Z'), ended(span, 10, '2026-02-01Z') FROM unnest('{day,all_time}'::text[]) span;
ROLLBACK;
BEGIN;
CREATE TABLE rest PARTITION OF video_views_hour DEFAULT;
SELECT differences('day', 10, '2026-01-02Z'), ended('day', 10, '2026-01-02Z');
ROLLBACK;
BEGIN;
UPDATE video_views_hour SET views = 9223372036854775807 WHERE video_id = 'v400' AND window_start < '2026-01-02 02:00Z';
SELECT ended('day', 10, '2026-01-02Z');
SELECT t.error($$SELECT * FROM topk('day', 10, '2026-01-02Z')$$);
ROLLBACK;
-- Long ids, of which an index keeps the beginning, and some that a TOAST table keeps.
BEGIN;
ALTER TABLE video_views_hour_20260102 ALTER video_id SET STORAGE EXTERNAL;
INSERT INTO video_views_hour SELECT '2026-01-02 00:00Z'::timestamptz + h * interval '1 hour', repeat('x', 60 + n) || CASE WHEN n = 7 THEN repeat('y', 2500) ELSE '' END, 30000 FROM generate_series(0, 23) h, generate_series(1, 20) n;
SELECT k, differences('day', k, '2026-01-02Z'), ended('day', k, '2026-01-02Z') FROM unnest('{3,10,100}'::int[]) k;
ROLLBACK;
-- A roll-up's rows count.
BEGIN;
INSERT INTO video_views_day_rollup VALUES ('2026-01-02', 'v300', 400000), ('2026-01-03', 'v301', 400000);
SELECT differences('day', 10, '2026-01-02Z'), ended('day', 10, '2026-01-02Z'), l.* FROM topk('day', 1, '2026-01-02Z') l;
ROLLBACK;
-- A list that ends at its threshold: where the others decide, it does not matter; where its best are gone, all rows are added up.
BEGIN;
INSERT INTO video_views_hour SELECT '2026-01-02 03:00Z', 'tied' || n, 1 FROM generate_series(1, 50000) n;
SELECT k, differences('day', k, '2026-01-02Z'), ended('day', k, '2026-01-02Z') FROM unnest('{10,100}'::int[]) k;
ROLLBACK;
BEGIN;
INSERT INTO video_views_hour SELECT '2026-01-02 03:00Z', 'w' || n, 1000000 + n FROM generate_series(1, 20000) n;
DELETE FROM video_views_hour WHERE window_start = '2026-01-02 03:00Z' AND views BETWEEN 1014000 AND 1019990;
SELECT k, differences('day', k, '2026-01-02Z'), ended('day', k, '2026-01-02Z') FROM unnest('{5,300}'::int[]) k;
ROLLBACK;
DROP FUNCTION by_views, differences, ended;
SELECT topk.drop_counter('video_views');
