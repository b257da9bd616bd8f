-- topk.correct: views changed by hand, in open and sealed hours, on the record.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = warning;
SELECT topk.create_counter();
SELECT partition FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{100}');
SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-01-31 23:00Z', t.entry('a', 5), t.entry('b', 2))), NULL, NULL, ARRAY[t.advance(0, 1, 0, 7)]);
CREATE FUNCTION error_of(counter text, hour text, video_id text, delta text, reason text DEFAULT 'r') RETURNS text LANGUAGE sql AS
    $$ SELECT t.error(format('SELECT topk.correct(%L, %L, %L, %L, %L)', counter, hour, video_id, delta, reason)) $$;

-- Up, down, to zero (the row goes), a new video, and a day that has no partition.
SELECT topk.correct('video_views', '2020-01-31 23:00Z', 'a', 10, 'a lost batch');
SELECT topk.correct('video_views', '2020-01-31 23:00Z', 'a', -14, 'a robot');
SELECT topk.correct('video_views', '2020-01-31 23:00Z', 'b', -2, 'never happened');
SELECT topk.correct('video_views', '2020-01-31 23:00Z', 'é', 9223372036854775807, 'from another system');
SELECT topk.correct('video_views', '2020-02-01 23:00Z', 'a', 3, 'from another system');
SELECT tableoid::regclass, * FROM video_views_hour ORDER BY window_start, video_id;
SELECT counter, hour_start, video_id, delta, views_after, reason, corrected_by = current_user AS by_me, corrected_at > now() - interval '1 min' AS dated FROM topk.correction ORDER BY corrected_at;
SELECT * FROM topk.window_revision_data ORDER BY span, window_start;
-- Lists see it.
SELECT * FROM topk('month', 10, '2020-01-15Z');
SELECT * FROM topk('hour', 10, '2020-02-01 23:30Z');

-- A sealed hour, which no flush can change, with and without a partition.
UPDATE topk.counter_data SET sealed_through = '2020-03-01Z';
SELECT split_part(t.error($$SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-01-31 23:00Z', t.entry('a', 1))), NULL, NULL, ARRAY[t.advance(0, 1, 7, 8)])$$), E'\n', 1);
SELECT topk.correct('video_views', '2020-01-31 23:00Z', 'a', 1, 'sealed');
SELECT topk.correct('video_views', '2020-02-10 00:00Z', 'a', 1, 'sealed');
SELECT * FROM topk.window_revision_data ORDER BY span, window_start;
SELECT check_name, ok FROM topk.audit() WHERE NOT ok;

-- 22003: below zero, of a video that has none, beyond bigint. No partition is made, nothing is recorded.
SELECT error_of('video_views', '2020-01-31 23:00Z', 'a', '-3');
SELECT error_of('video_views', '2020-01-31 23:00Z', 'nobody', '-1');
SELECT error_of('video_views', '2021-01-31 23:00Z', 'a', '-9223372036854775808');
SELECT error_of('video_views', '2020-01-31 23:00Z', 'é', '1');
-- 22023: what is not an hour of the counter, or not a correction.
SELECT error_of('video_views', '2020-01-31 23:00:01Z', 'a', '1');
SELECT error_of('video_views', '2020-01-31 23:00:00.000001Z', 'a', '1');
SELECT error_of('video_views', '-infinity', 'a', '1');
SELECT error_of('video_views', '0001-12-31 23:00Z BC', 'a', '1');
SELECT error_of('video_views', '10000-01-01 00:00Z', 'a', '1');
SELECT error_of('video_views', '2020-01-31 23:00Z', 'a', '0');
SELECT error_of('video_views', '2020-01-31 23:00Z', '', '1');
SELECT error_of('video_views', '2020-01-31 23:00Z', repeat('é', 129), '1');
SELECT error_of('video_views', '2020-01-31 23:00Z', 'a', '1', '');
SELECT error_of(NULL, '2020-01-31 23:00Z', 'a', '1');
SELECT error_of('video_views', NULL, 'a', '1');
SELECT error_of('video_views', '2020-01-31 23:00Z', NULL, '1');
SELECT error_of('video_views', '2020-01-31 23:00Z', 'a', NULL);
SELECT error_of('video_views', '2020-01-31 23:00Z', 'a', '1', NULL);
SELECT error_of('no such', '2020-01-31 23:00Z', 'a', '1');
SELECT count(*), sum(delta) FROM topk.correction;
SELECT count(*) FROM pg_inherits WHERE inhparent = 'video_views_hour'::regclass;

-- The longest id is one.
SELECT topk.correct('video_views', '9999-12-31 23:00Z', repeat('é', 128), 1, 'r');
SELECT topk.correct('video_views', '0001-01-01 00:00Z', 'a', 1, 'r');
SELECT window_start, octet_length(video_id) FROM video_views_hour WHERE octet_length(video_id) = 256;

-- 25001, 42501; 'admin' may, in the name of who calls.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT error_of('video_views', '2020-01-31 23:00Z', 'a', '1');
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT error_of('video_views', '2020-01-31 23:00Z', 'a', '1');
ROLLBACK;
BEGIN READ ONLY;
SELECT error_of('video_views', '2020-01-31 23:00Z', 'a', '1');
ROLLBACK;
CREATE ROLE regress_correct_read; CREATE ROLE regress_correct_ingest; CREATE ROLE regress_correct_admin; CREATE ROLE regress_correct_none;
SELECT topk.grant_access('regress_correct_read', 'read'), topk.grant_access('regress_correct_ingest', 'ingest'), topk.grant_access('regress_correct_admin', 'admin');
GRANT EXECUTE ON FUNCTION error_of TO PUBLIC;
SET ROLE regress_correct_none;
SELECT error_of('video_views', '2020-01-31 23:00Z', 'a', '1');
SELECT count(*) FROM topk.correction;
SET ROLE regress_correct_read;
SELECT error_of('video_views', '2020-01-31 23:00Z', 'a', '1');
SELECT count(*) FROM topk.correction;
SELECT error_of('no such', 'x', 'a', '1') LIKE '22007%' AS bad_timestamp;
SELECT t.error('SELECT FROM topk.correction_data'), t.error('SELECT FROM topk.window_revision_data');
SET ROLE regress_correct_ingest;
SELECT error_of('video_views', '2020-01-31 23:00Z', 'a', '1');
SET ROLE regress_correct_admin;
SELECT topk.correct('video_views', '2020-01-31 23:00Z', 'a', 1, 'by an admin');
SELECT topk.correct('video_views', '2020-04-01 00:00Z', 'a', 1, 'a new day by an admin');
SELECT corrected_by, reason FROM topk.correction WHERE corrected_by LIKE 'regress%' ORDER BY corrected_at;
RESET ROLE;
SELECT relname, pg_get_userbyid(relowner) = current_user AS owned FROM pg_class WHERE relname = 'video_views_hour_20200401';

-- A trigger that drops or changes the row is found out, also of a delete; row security that hides it from its owner is refused.
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_ARGV[0] = 'drop' THEN RETURN NULL; END IF;
    NEW.views := NEW.views + 1;
    RETURN NEW;
END $$;
BEGIN;
CREATE TRIGGER meddle BEFORE UPDATE OR DELETE ON video_views_hour FOR EACH ROW EXECUTE FUNCTION meddle('drop');
SELECT error_of('video_views', '2020-01-31 23:00Z', 'a', '1');
SELECT error_of('video_views', '2020-02-10 00:00Z', 'a', '-1');
DROP TRIGGER meddle ON video_views_hour;
CREATE TRIGGER meddle BEFORE INSERT OR UPDATE ON video_views_hour FOR EACH ROW EXECUTE FUNCTION meddle('add');
SELECT error_of('video_views', '2020-01-31 23:00Z', 'a', '1');
SELECT error_of('video_views', '2020-01-31 23:00Z', 'new', '1');
ROLLBACK;
BEGIN;
ALTER TABLE video_views_hour ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
SELECT topk.correct('video_views', '2020-01-31 23:00Z', 'a', 1, 'the owner is a superuser here');
CREATE ROLE regress_correct_owner;
GRANT USAGE, CREATE ON SCHEMA public TO regress_correct_owner;
ALTER TABLE video_views_hour OWNER TO regress_correct_owner;
ALTER TABLE video_views_late OWNER TO regress_correct_owner;
SELECT error_of('video_views', '2020-01-31 23:00Z', 'a', '1');
ROLLBACK;
DROP FUNCTION meddle;

-- Zones: hours off the hour, and the hour that a clock set back repeats, belong to the day and month of the place.
SELECT topk.create_counter('kathmandu', 'Asia/Kathmandu'), topk.create_counter('st_johns', 'America/St_Johns'), topk.create_counter('berlin', 'Europe/Berlin');
SELECT topk.correct('kathmandu', '2020-01-31 18:15Z', 'a', 1, 'first hour of February');
SELECT error_of('kathmandu', '2020-01-31 18:00Z', 'a', '1');
SELECT topk.correct('st_johns', '2020-02-01 02:30Z', 'a', 1, 'last hour of January');
SELECT topk.correct('berlin', '2020-10-25 00:00Z', 'a', 1, 'two o''clock'), topk.correct('berlin', '2020-10-25 01:00Z', 'a', 2, 'two o''clock again');
SELECT * FROM topk.window_revision_data WHERE counter <> 'video_views' ORDER BY counter, span, window_start;
SELECT day_start, count(*) FROM topk.hour_map WHERE counter <> 'video_views' GROUP BY 1 ORDER BY 1;

SELECT topk.drop_counter(name) FROM topk.counter;
SELECT (SELECT count(*) FROM topk.correction_data), (SELECT count(*) FROM topk.window_revision_data), (SELECT count(*) FROM topk.hour_book_data);
DROP FUNCTION error_of;
DROP ROLE regress_correct_read, regress_correct_ingest, regress_correct_admin, regress_correct_none;
