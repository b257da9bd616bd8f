-- topk.audit: the tables agree with the books after all that may happen, and what was changed behind their back is named.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = warning;
CREATE FUNCTION wrong(counter text DEFAULT 'video_views') RETURNS TABLE (check_name text, subject text, expected numeric, found numeric, detail text) LANGUAGE sql AS
    $$ SELECT check_name, regexp_replace(subject, 'reset at .*', 'reset at …'), expected, found, detail FROM topk.audit(counter) WHERE NOT ok AND subject IS NOT NULL $$;

-- Nothing to compare is no error.
SELECT topk.create_counter(time_zone => 'Asia/Kathmandu');
SELECT * FROM topk.audit();
SELECT partition FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 3, '{0,1}', '{10,0}', '{100,100}');

-- Counted, late, dead and skipped: the frontier is within 15 January there, that day and month are open, the 14th is not, nor is December.
UPDATE topk.counter_data SET sealed_through = '2020-01-15 06:15Z';
SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-01-15 06:15Z', t.entry('a', 5), t.entry('b', 1)), t.hour('2020-01-16 06:15Z', t.entry('a', 4))),
    ARRAY[ROW('2020-01-15 05:15Z', 'b', 3, 2), ROW('2020-01-14 05:15Z', 'a', 2, 1), ROW('2019-12-14 05:15Z', 'a', 1, 1), ROW('2020-01-15 05:15Z', 'a', 7, 7)]::topk.flush_late[],
    ARRAY[ROW(0, 11, NULL, 'x', NULL, NULL), ROW(1, 1, NULL, 'x', NULL, NULL), ROW(1, 2, NULL, 'x', NULL, NULL)]::topk.flush_dead[],
    ARRAY[ROW(0, 1, 10, 30, 29, 1, 1, NULL, 5, 11, 1, 3), ROW(1, 1, 0, 8, 7, 1, 1, NULL, 5, 0, 2, 1)]::topk.flush_progress[]);
SELECT * FROM topk.hour_book ORDER BY hour_start, partition;
-- Under the lowest partition of each flush; an hour that is counted and late at once; and a flush of offsets alone writes no book.
SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-01-16 06:15Z', t.entry('a', 1))), ARRAY[ROW('2020-01-16 06:15Z', 'a', 4, 2)]::topk.flush_late[],
    NULL, ARRAY[ROW(1, 1, 8, 11, 10, 1, 1, NULL, 1, 2, 0, 0)]::topk.flush_progress[]);
SELECT topk.flush('video_views', 'events', t.deltas(), NULL, NULL, ARRAY[ROW(0, 1, 30, 33, NULL, NULL, NULL, NULL, 0, 0, 0, 3)]::topk.flush_progress[]);
SELECT * FROM topk.hour_book ORDER BY hour_start, partition;
-- Once the day is sealed it takes no late views, the month still does.
UPDATE topk.counter_data SET sealed_through = '2020-01-15 18:15Z';
SELECT topk.flush('video_views', 'events', t.deltas(), ARRAY[ROW('2020-01-15 05:15Z', 'b', 1, 1)]::topk.flush_late[], NULL, ARRAY[ROW(0, 1, 33, 34, 33, 1, 1, NULL, 0, 1, 0, 0)]::topk.flush_progress[]);
SELECT hour_start, views, late_views, late_records, late_in_day, late_in_month FROM topk.hour_book WHERE hour_start = '2020-01-15 05:15Z';
SELECT * FROM topk.audit();

-- Resets forward and back, one before the first claim, dead letters of both lives; a second topic; corrections.
SELECT topk.reset_progress('video_views', 'events', 0, 50, 'retention'), topk.reset_progress('video_views', 'events', 2, 7, 'test data');
SELECT partition, epoch FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 3, '{0,1,2}', '{10,0,0}', '{100,100,100}');
SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-01-16 06:15Z', t.entry('a', 1))), NULL, ARRAY[ROW(0, 50, NULL, 'x', NULL, NULL)]::topk.flush_dead[],
    ARRAY[ROW(0, 3, 50, 52, 51, 1, 1, NULL, 1, 0, 1, 0), ROW(2, 2, 7, 8, 7, 1, 1, NULL, 1, 0, 0, 0)]::topk.flush_progress[]);
SELECT topk.reset_progress('video_views', 'events', 0, 11, 'made again');
SELECT partition, epoch FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 3, '{0}', '{10}', '{100}');
SELECT topk.flush('video_views', 'events', t.deltas(), ARRAY[ROW('2020-01-15 05:15Z', 'b', 1, 1)]::topk.flush_late[], ARRAY[ROW(0, 11, NULL, 'x', NULL, NULL)]::topk.flush_dead[], ARRAY[ROW(0, 5, 11, 13, 12, 1, 1, NULL, 0, 1, 1, 0)]::topk.flush_progress[]);
SELECT partition, epoch FROM topk.claim('video_views', 'more', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{100}');
SELECT topk.flush('video_views', 'more', t.deltas(t.hour('2020-01-16 06:15Z', t.entry('a', 1))), ARRAY[ROW('2020-01-15 05:15Z', 'b', 1, 1)]::topk.flush_late[], NULL, ARRAY[ROW(0, 1, 0, 2, 1, 1, 1, NULL, 1, 1, 0, 0)]::topk.flush_progress[]);
SELECT topk.correct('video_views', '2020-01-15 06:15Z', 'b', -1, 'gone'), topk.correct('video_views', '2020-01-15 06:15Z', 'a', -5, 'gone'),
    topk.correct('video_views', '2020-01-16 06:15Z', 'c', 10, 'found'), topk.correct('video_views', '2020-03-01 00:15Z', 'c', 10, 'found'), topk.correct('video_views', '2020-03-01 00:15Z', 'c', -10, 'not so');
SELECT * FROM topk.audit();

-- The order of resets is not the clock's, which may be set back between two of them.
BEGIN; UPDATE topk.progress_history_data SET reset_at = reset_at - interval '1 hour' WHERE partition = 0 AND reset_to = 11; SELECT * FROM wrong(); ROLLBACK;

-- Each planted error is named, alone. A row changed, added, deleted, and one of an hour that no book knows:
BEGIN; UPDATE video_views_hour SET views = views + 1 WHERE video_id = 'c'; SELECT * FROM wrong(); SELECT check_name, expected, found, ok, detail FROM topk.audit() WHERE subject IS NULL AND NOT ok; ROLLBACK;
BEGIN; INSERT INTO video_views_hour VALUES ('2020-01-16 07:15Z', 'd', 2); SELECT * FROM wrong(); ROLLBACK;
BEGIN; DELETE FROM video_views_hour WHERE video_id = 'c'; SELECT * FROM wrong(); ROLLBACK;
BEGIN; DROP TABLE video_views_hour_20200116; SELECT * FROM wrong(); ROLLBACK;
-- An offset moved: where a partition reads next, where its books begin, and both at once after a reset.
BEGIN; UPDATE topk.kafka_progress_data SET next_offset = next_offset + 1 WHERE topic = 'events' AND partition = 1; SELECT * FROM wrong(); ROLLBACK;
BEGIN; UPDATE topk.kafka_progress_data SET start_offset = start_offset - 2 WHERE topic = 'more'; SELECT * FROM wrong(); ROLLBACK;
BEGIN; UPDATE topk.kafka_progress_data SET start_offset = start_offset + 100, next_offset = next_offset + 100 WHERE topic = 'events' AND partition = 0; SELECT * FROM wrong(); ROLLBACK;
BEGIN; UPDATE topk.progress_history_data SET next_offset = next_offset + 1 WHERE partition = 0 AND reset_to = 50; SELECT * FROM wrong(); ROLLBACK;
BEGIN; UPDATE topk.progress_history_data SET reset_to = 12 WHERE reset_to = 11; SELECT * FROM wrong(); ROLLBACK;
BEGIN; DELETE FROM topk.kafka_progress_data WHERE topic = 'events' AND partition = 2; SELECT * FROM wrong(); ROLLBACK;
BEGIN; DELETE FROM topk.progress_history_data WHERE reset_to = 50; SELECT * FROM wrong(); ROLLBACK;
-- A record lost between the books.
BEGIN; UPDATE topk.kafka_progress_data SET counted = counted - 1 WHERE topic = 'events' AND partition = 1; SELECT * FROM wrong(); ROLLBACK;
BEGIN; UPDATE topk.kafka_progress_data SET counted = counted - 1, late = late + 1 WHERE topic = 'more'; SELECT * FROM wrong(); ROLLBACK;
BEGIN; UPDATE topk.kafka_progress_data SET counted = counted + 1, lost = lost - 1 WHERE topic = 'events' AND partition = 2; SELECT * FROM wrong(); ROLLBACK;
-- A late view deleted, changed, its records changed.
BEGIN; DELETE FROM topk.late_views_data WHERE hour_start = '2019-12-14 05:15Z'; SELECT * FROM wrong(); ROLLBACK;
BEGIN; UPDATE topk.late_views_data SET views = views + 1 WHERE hour_start = '2020-01-15 05:15Z' AND video_id = 'b'; SELECT * FROM wrong(); ROLLBACK;
BEGIN; UPDATE topk.late_views_data SET records = records + 1 WHERE hour_start = '2020-01-15 05:15Z' AND video_id = 'b'; SELECT * FROM wrong(); ROLLBACK;
-- The late views of coarser windows: changed in one, deleted, and in a window that took none.
BEGIN; UPDATE video_views_late SET views = views + 1 WHERE span = 'month' AND video_id = 'b'; SELECT * FROM wrong(); ROLLBACK;
BEGIN; DELETE FROM video_views_late WHERE span = 'day'; SELECT * FROM wrong(); ROLLBACK;
BEGIN; DELETE FROM video_views_late WHERE span = 'all_time' AND video_id = 'b'; SELECT * FROM wrong(); ROLLBACK;
BEGIN; INSERT INTO video_views_late VALUES ('month', '2019-11-30 18:15Z', 'a', 1); SELECT * FROM wrong(); ROLLBACK;
-- A dead letter deleted, and one too many.
BEGIN; DELETE FROM topk.dead_letter_data WHERE partition = 0 AND epoch = 5; SELECT * FROM wrong(); ROLLBACK;
BEGIN; INSERT INTO topk.dead_letter_data VALUES ('video_views', 'other', 4, 1, 1, NULL, 'x'); SELECT * FROM wrong(); ROLLBACK;
-- A book of an hour changed, deleted; a correction struck out.
BEGIN; UPDATE topk.hour_book_data SET views = views - 1 WHERE topic = 'more' AND views > 0; SELECT * FROM wrong(); ROLLBACK;
BEGIN; UPDATE topk.hour_book_data SET late_in_day = late_in_day - 1 WHERE late_in_day = 10; SELECT * FROM wrong(); ROLLBACK;
BEGIN; DELETE FROM topk.hour_book_data WHERE hour_start = '2020-01-15 05:15Z' AND topic = 'more'; SELECT * FROM wrong(); ROLLBACK;
BEGIN; DELETE FROM topk.correction_data WHERE reason = 'found' AND hour_start = '2020-01-16 06:15Z'; SELECT * FROM wrong(); ROLLBACK;
-- Roll-ups: nothing is rolled up yet.
BEGIN; INSERT INTO video_views_day_rollup VALUES ('2020-01-15 18:15Z', 'a', 3); INSERT INTO video_views_all_time_rollup VALUES ('-infinity', 'a', 3); SELECT * FROM wrong(); ROLLBACK;
SELECT * FROM wrong();

-- Other counters are other books.
SELECT topk.create_counter('other');
SELECT topk.correct('other', '2020-01-16 06:00Z', 'a', 1, 'r');
BEGIN; UPDATE other_hour SET views = 2; SELECT * FROM wrong(); SELECT * FROM wrong('other'); ROLLBACK;
SELECT topk.drop_counter('other');

-- One snapshot, the caller's.
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT bool_and(ok) FROM topk.audit();
COMMIT;

-- 42704, 42501, 22023. 'read' and 'admin' may; where policies keep rows from a reader, only 'admin'.
SELECT t.error($$SELECT topk.audit('no such')$$);
SELECT t.error($$SELECT topk.audit(NULL)$$);
CREATE ROLE regress_audit_read; CREATE ROLE regress_audit_ingest; CREATE ROLE regress_audit_admin; CREATE ROLE regress_audit_owner;
SELECT topk.grant_access('regress_audit_read', 'read'), topk.grant_access('regress_audit_ingest', 'ingest'), topk.grant_access('regress_audit_admin', 'admin');
SET ROLE regress_audit_ingest;
SELECT t.error($$SELECT topk.audit()$$);
SELECT count(*) FROM topk.hour_book;
SET ROLE regress_audit_read;
SELECT bool_and(ok) FROM topk.audit();
SELECT count(*) > 0 AS reads_the_book FROM topk.hour_book;
SELECT t.error($$SELECT FROM topk.hour_book_data$$);
SET ROLE regress_audit_admin;
SELECT bool_and(ok) FROM topk.audit();
RESET ROLE;
BEGIN;
ALTER TABLE video_views_late ENABLE ROW LEVEL SECURITY;
SET LOCAL ROLE regress_audit_read;
SELECT t.error($$SELECT topk.audit()$$);
SET LOCAL ROLE regress_audit_admin;
SELECT bool_and(ok) FROM topk.audit();
RESET ROLE;
ALTER TABLE video_views_late FORCE ROW LEVEL SECURITY;
GRANT USAGE, CREATE ON SCHEMA public TO regress_audit_owner;
ALTER TABLE video_views_hour OWNER TO regress_audit_owner;
ALTER TABLE video_views_late OWNER TO regress_audit_owner;
SELECT t.error($$SELECT topk.audit()$$);
ROLLBACK;

-- 22003: an hour whose views exceed bigint, in one flush and in two.
SELECT partition FROM topk.claim('video_views', 'more', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{100}');
SELECT t.error($$SELECT topk.flush('video_views', 'more', t.deltas(t.hour('2020-01-17 06:15Z', t.entry('a', 9223372036854775807), t.entry('b', 1))), NULL, NULL, ARRAY[t.advance(0, 2, 2, 3)])$$);
SELECT t.error($$SELECT topk.flush('video_views', 'more', t.deltas(), ARRAY[ROW('2020-01-15 05:15Z', 'b', 9223372036854775807, 1), ROW('2020-01-15 05:15Z', 'a', 1, 1)]::topk.flush_late[], NULL, ARRAY[t.advance(0, 2, 2, 3)])$$);
SELECT topk.flush('video_views', 'more', t.deltas(t.hour('2020-01-17 06:15Z', t.entry('a', 9223372036854775807))), NULL, NULL, ARRAY[t.advance(0, 2, 2, 3)]);
SELECT t.error($$SELECT topk.flush('video_views', 'more', t.deltas(t.hour('2020-01-17 06:15Z', t.entry('b', 1))), NULL, NULL, ARRAY[t.advance(0, 2, 3, 4)])$$);
SELECT * FROM wrong();

SELECT topk.drop_counter('video_views');
DROP FUNCTION wrong;
DROP ROLE regress_audit_read, regress_audit_ingest, regress_audit_admin, regress_audit_owner;
