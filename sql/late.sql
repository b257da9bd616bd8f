-- Late views and dead letters: kept, and added to the windows that still take them.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = warning;
SELECT topk.create_counter(time_zone => 'Asia/Kathmandu');
SELECT partition FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 2, '{0,1}', '{0,0}', '{100,100}');
-- The frontier is within 15 January there: that day and month are open, the 14th is not, nor is December.
UPDATE topk.counter_data SET sealed_through = '2020-01-15 06:15Z';
SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-01-15 06:15Z', t.entry('a', 5))),
    ARRAY[ROW('2020-01-15 05:15Z', 'b', 3, 2), ROW('2020-01-14 05:15Z', 'a', 2, 1), ROW('2019-12-14 05:15Z', 'a', 1, 1), ROW('2020-01-15 05:15Z', 'B', 7, 7), ROW('2020-01-15 05:15Z', 'b', 1, 1)]::topk.flush_late[],
    NULL, ARRAY[ROW(0, 1, 0, 17, 16, 1, 1, NULL, 5, 12, 0, 0)::topk.flush_progress]);
SELECT topk.flush('video_views', 'events', t.deltas(), ARRAY[ROW('2020-01-15 05:15Z', 'b', 1, 1)]::topk.flush_late[], NULL, ARRAY[ROW(0, 1, 17, 18, 17, 1, 1, NULL, 0, 1, 0, 0)::topk.flush_progress]);
SELECT counter, hour_start, video_id, views, records, last_seen > first_seen AS again FROM topk.late_views ORDER BY hour_start, video_id;
SELECT * FROM video_views_late ORDER BY span, window_start, video_id;
SELECT * FROM topk('hour', 10, '2020-01-15 05:30Z');
SELECT * FROM topk('day', 10, '2020-01-15 05:30Z');
SELECT * FROM topk('day', 10, '2020-01-14 05:30Z');
SELECT * FROM topk('month', 10, '2020-01-15 05:30Z');
SELECT * FROM topk('all_time', 10);
-- Trailing hours are sums of hours, without late additions.
SELECT * FROM topk('48 hours', 10, '2020-01-15 06:30Z');
SELECT * FROM video_views_day ORDER BY 1, 2;
SELECT * FROM video_views_month ORDER BY 1, 2;
SELECT * FROM video_views_all_time ORDER BY 1, 2;

-- Dead letters, with timestamps as hostile as they come.
SELECT topk.flush('video_views', 'events', t.deltas(), NULL,
    ARRAY[ROW(0, 18, 1577836800123, 'not JSON', '\x6b', '\x00ff'), ROW(0, 19, -1, 'null value', NULL, NULL), ROW(1, 0, NULL, 'x', '\x', '\x'),
          ROW(1, 1, 9223372036854775807, 'ts out of range: 9e99', NULL, convert_to(repeat('x', 4096), 'UTF8')), ROW(1, 2, -9223372036854775808, 'not an object', NULL, NULL)]::topk.flush_dead[],
    ARRAY[ROW(0, 1, 18, 20, 19, 1, 1, NULL, 0, 0, 2, 0), ROW(1, 1, 0, 3, 2, -9223372036854775808, 1, NULL, 0, 0, 3, 0)]::topk.flush_progress[]);
SELECT counter, topic, partition, "offset", epoch, record_timestamp, reason, key, length(payload) FROM topk.dead_letter ORDER BY partition, "offset";
SELECT partition, next_offset, last_timestamp_ms, counted, late, dead FROM topk.kafka_progress ORDER BY 1;

CREATE FUNCTION error_of_late(late topk.flush_late[]) RETURNS text LANGUAGE sql AS
    $$ SELECT t.error(format('SELECT topk.flush(%L, %L, t.deltas(), %L, NULL, ARRAY[t.advance(0, 1, 20, 21)])', 'video_views', 'events', late)) $$;
CREATE FUNCTION error_of_dead(dead topk.flush_dead[]) RETURNS text LANGUAGE sql AS
    $$ SELECT t.error(format('SELECT topk.flush(%L, %L, t.deltas(), NULL, %L, ARRAY[t.advance(0, 1, 20, 21)])', 'video_views', 'events', dead)) $$;
SELECT error_of_late(ARRAY[ROW(NULL, 'a', 1, 1)]::topk.flush_late[]);
SELECT error_of_late(ARRAY[ROW('infinity', 'a', 1, 1)]::topk.flush_late[]);
SELECT error_of_late(ARRAY[ROW('2020-01-15 05:15Z', 'a', 1, 1), ROW('2020-01-15 05:15Z', NULL, 1, 1)]::topk.flush_late[]);
SELECT error_of_late(ARRAY[ROW('2020-01-15 05:15Z', '', 1, 1)]::topk.flush_late[]);
SELECT error_of_late(ARRAY[ROW('2020-01-15 05:15Z', repeat('é', 129), 1, 1)]::topk.flush_late[]);
SELECT error_of_late(ARRAY[ROW('2020-01-15 05:15Z', 'a', 0, 1)]::topk.flush_late[]);
SELECT error_of_late(ARRAY[ROW('2020-01-15 05:15Z', 'a', 1, 0)]::topk.flush_late[]);
SELECT error_of_late(ARRAY[ROW('2020-01-15 05:00Z', 'a', 1, 1)]::topk.flush_late[]);
SELECT error_of_late(ARRAY[NULL]::topk.flush_late[]);
SELECT error_of_dead(ARRAY[ROW(0, 20, 1, NULL, NULL, NULL)]::topk.flush_dead[]);
SELECT error_of_dead(ARRAY[ROW(0, 20, 1, '', NULL, NULL)]::topk.flush_dead[]);
SELECT error_of_dead(ARRAY[ROW(0, 21, 1, 'x', NULL, NULL)]::topk.flush_dead[]);
SELECT error_of_dead(ARRAY[ROW(1, 20, 1, 'x', NULL, NULL)]::topk.flush_dead[]);
SELECT left(error_of_dead(ARRAY[ROW(0, 20, 1, 'x', NULL, convert_to(repeat('x', 4097), 'UTF8'))]::topk.flush_dead[]), 100);
SELECT error_of_dead(ARRAY[ROW(0, 20, 1, 'x', NULL, NULL), ROW(0, 20, 1, 'y', NULL, NULL)]::topk.flush_dead[]);

-- A trigger that drops late views is found out.
CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER swallow BEFORE INSERT ON video_views_late FOR EACH ROW WHEN (NEW.span = 'all_time') EXECUTE FUNCTION swallow();
SELECT error_of_late(ARRAY[ROW('2020-01-15 05:15Z', 'a', 1, 1), ROW('2020-01-15 05:15Z', 'b', 1, 1)]::topk.flush_late[]);
DROP FUNCTION error_of_late, error_of_dead;
SELECT topk.drop_counter('video_views');
DROP FUNCTION swallow;
