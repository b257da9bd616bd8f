-- topk.flush: counts, offsets and books move together or not at all.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = warning;
SELECT topk.create_counter();
SELECT partition, epoch FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 2, '{0,1}', '{0,0}', '{100,100}');
CREATE VIEW progress AS SELECT partition, epoch, next_offset, last_offset, last_timestamp_ms, last_crc, watermark, counted, late, dead, skipped, flushed_at IS NOT NULL AS flushed FROM topk.kafka_progress ORDER BY 1;

-- Two partitions, three hours in two days; then the same videos again.
SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-01-01 22:00Z', t.entry('B', 2), t.entry('a', 1)), t.hour('2020-01-01 23:00Z', t.entry('é', 3)), t.hour('2020-01-02 00:00Z', t.entry('a', 4))),
    '{}', '{}', ARRAY[t.advance(0, 1, 0, 5, '2020-01-01 23:10Z'), t.advance(1, 1, 0, 5)]);
SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-01-01 22:00Z', t.entry('a', 10), t.entry('c', 1))), '{}', '{}', ARRAY[t.advance(0, 1, 5, 6, '2020-01-01 22:00Z')]);
SELECT tableoid::regclass, * FROM video_views_hour ORDER BY window_start, video_id;
SELECT c.relname, c.reloptions, pg_get_userbyid(c.relowner) = current_user AS owned, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'video_views_hour'::regclass ORDER BY 1;
SELECT day_start, count(*), min(hour_start), max(hour_end) FROM topk.hour_map GROUP BY 1 ORDER BY 1;
SELECT * FROM progress;

-- Offsets that delivered no record keep the fingerprint; -infinity is no watermark.
SELECT topk.flush('video_views', 'events', t.deltas(), NULL, NULL, ARRAY[ROW(0, 1, 6, 9, NULL, NULL, NULL, '-infinity', 0, 0, 0, 3)::topk.flush_progress]);
SELECT * FROM progress;

-- TK001: from the wrong offset, with another epoch, of a partition without progress; the neighbours are not written either.
SELECT t.error($$SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-01-01 22:00Z', t.entry('a', 1000))), NULL, NULL, ARRAY[t.advance(0, 1, 9, 10), t.advance(1, 1, 4, 5)])$$);
SELECT t.error($$SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-01-01 22:00Z', t.entry('a', 1000))), NULL, NULL, ARRAY[t.advance(0, 0, 9, 10)])$$);
SELECT t.error($$SELECT topk.flush('video_views', 'events', t.deltas(), NULL, NULL, ARRAY[t.advance(2, 1, 9, 10)])$$);
SELECT t.error($$SELECT topk.flush('video_views', 'other', t.deltas(), NULL, NULL, ARRAY[t.advance(0, 1, 9, 10)])$$);
-- TK001 also from another session, though it knows epoch and offset: resume first.
\c -
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = warning;
SELECT t.error($$SELECT topk.flush('video_views', 'events', t.deltas(), NULL, NULL, ARRAY[t.advance(0, 1, 9, 10)])$$);
SELECT partition, status FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 2, '{0,1}', '{0,0}', '{100,100}', '{1,1}');
SELECT topk.flush('video_views', 'events', t.deltas(), NULL, NULL, ARRAY[t.advance(0, 1, 9, 10)]);

-- TK002: an hour that ends at the frontier is sealed, the next one is open; the frontier comes back.
UPDATE topk.counter_data SET sealed_through = '2020-01-02 00:00Z';
SELECT t.error($$SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-01-01 23:00Z', t.entry('a', 1000)), t.hour('2020-01-02 00:00Z', t.entry('a', 1000))), NULL, NULL, ARRAY[t.advance(0, 1, 10, 11)])$$);
-- also where no partition was ever made
SELECT t.error($$SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2019-12-24 00:00Z', t.entry('a', 1000))), NULL, NULL, ARRAY[t.advance(0, 1, 10, 11)])$$);
SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-01-02 00:00Z', t.entry('a', 1))), NULL, NULL, ARRAY[t.advance(0, 1, 10, 11)]);
SELECT window_start, video_id, views FROM video_views_hour ORDER BY window_start, video_id;
SELECT * FROM progress;

-- 25001 outside read committed.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT t.error($$SELECT topk.flush('video_views', 'events', t.deltas(), NULL, NULL, ARRAY[t.advance(0, 1, 11, 12)])$$);
ROLLBACK;

-- 22023: hours that are none of the counter's.
SELECT t.error($$SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-01-02 00:30Z', t.entry('a', 1))), NULL, NULL, ARRAY[t.advance(0, 1, 11, 12)])$$);
SELECT t.error($$SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-05-02 00:30Z', t.entry('a', 1))), NULL, NULL, ARRAY[t.advance(0, 1, 11, 12)])$$);
SELECT t.error($$SELECT topk.flush('video_views', 'events', t.deltas(), ARRAY[ROW('2020-01-02 00:30Z', 'a', 1, 1)::topk.flush_late], NULL, ARRAY[t.advance(0, 1, 11, 12)])$$);

-- 22023: progress.
CREATE FUNCTION error_of_progress(VARIADIC progress topk.flush_progress[]) RETURNS text LANGUAGE sql AS
    $$ SELECT t.error(format('SELECT topk.flush(%L, %L, t.deltas(), NULL, NULL, %L)', 'video_views', 'events', progress)) $$;
SELECT t.error($$SELECT topk.flush('video_views', 'events', t.deltas(), NULL, NULL, '{}')$$);
SELECT t.error($$SELECT topk.flush('video_views', 'events', t.deltas(), NULL, NULL, NULL)$$);
SELECT t.error($$SELECT topk.flush('video_views', 'events', t.deltas(), NULL, NULL, ARRAY[NULL]::topk.flush_progress[])$$);
SELECT error_of_progress(t.advance(1, 1, 5, 6), t.advance(0, 1, 11, 12));
SELECT error_of_progress(t.advance(0, 1, 11, 12), t.advance(0, 1, 11, 12));
SELECT error_of_progress(t.advance(-1, 1, 11, 12));
SELECT error_of_progress(t.advance(0, 1, 12, 11));
SELECT error_of_progress(t.advance(NULL, 1, 11, 12));
SELECT error_of_progress(t.advance(0, NULL, 11, 12));
SELECT error_of_progress(t.advance(0, 1, 11, 12, 'infinity'));
SELECT error_of_progress(t.advance(0, 1, 11, 12, '0001-12-31 23:59:59.999999Z BC'));
SELECT error_of_progress(ROW(0, 1, 11, 12, 12, 1, 1, NULL, 1, 0, 0, 0)::topk.flush_progress);
SELECT error_of_progress(ROW(0, 1, 11, 12, 11, NULL, 1, NULL, 1, 0, 0, 0)::topk.flush_progress);
SELECT error_of_progress(ROW(0, 1, 11, 12, 11, 1, 4294967296, NULL, 1, 0, 0, 0)::topk.flush_progress);
SELECT error_of_progress(ROW(0, 1, 11, 12, 11, 1, 1, NULL, -1, 0, 0, 0)::topk.flush_progress);
SELECT error_of_progress(ROW(0, 1, 11, 12, 11, 1, 1, NULL, 1, 0, 0, NULL)::topk.flush_progress);
SELECT t.error($$SELECT topk.flush('no such', 'events', t.deltas(), NULL, NULL, ARRAY[t.advance(0, 1, 11, 12)])$$);
SELECT t.error($$SELECT topk.flush('video_views', 'events', NULL, NULL, NULL, ARRAY[t.advance(0, 1, 11, 12)])$$);

-- Counts beyond bigint fail, and a trigger that drops rows is found out.
SELECT t.error($$SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-01-02 00:00Z', t.entry('a', 9223372036854775807))), NULL, NULL, ARRAY[t.advance(0, 1, 11, 12)])$$);
CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER swallow BEFORE INSERT ON video_views_hour FOR EACH ROW EXECUTE FUNCTION swallow();
SELECT t.error($$SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-01-02 00:00Z', t.entry('a', 1))), NULL, NULL, ARRAY[t.advance(0, 1, 11, 12)])$$);
SELECT next_offset FROM progress WHERE partition = 0;

DROP FUNCTION error_of_progress;
DROP VIEW progress;
SELECT topk.drop_counter('video_views');
DROP FUNCTION swallow;
