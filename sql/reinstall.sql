-- DROP EXTENSION and CREATE EXTENSION under a session that has plans: its types are others now.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = warning;
BEGIN;
SELECT topk.create_counter();
PREPARE feed (int) AS SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-01-01Z', t.entry('a', 1))), ARRAY[ROW('2020-01-01Z', 'late', 1, 1)::topk.flush_late],
    ARRAY[ROW(0, 0, 0, 'x', NULL, NULL)::topk.flush_dead], ARRAY[ROW(0, 1, 0, 1, 0, 0, 0, NULL, 1, 0, 0, 0)::topk.flush_progress]);
SELECT partition FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{9}');
EXECUTE feed (1);
DEALLOCATE feed;
SELECT topk.drop_counter('video_views');
DROP EXTENSION topk CASCADE;
CREATE EXTENSION topk;
SELECT topk.create_counter();
SELECT partition FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{9}');
SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-01-01Z', t.entry('a', 1))), ARRAY[ROW('2020-01-01Z', 'late', 1, 1)::topk.flush_late],
    ARRAY[ROW(0, 0, 0, 'x', NULL, NULL)::topk.flush_dead], ARRAY[ROW(0, 1, 0, 1, 0, 0, 0, NULL, 1, 0, 0, 0)::topk.flush_progress]);
SELECT * FROM topk('all_time');
ROLLBACK;
