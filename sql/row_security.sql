-- Row-level security: a list is of the rows that the policies show its reader, and is never cut in silence for those who may see all.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = warning;
CREATE ROLE regress_topk_keeper; CREATE ROLE regress_topk_reader;
CREATE SCHEMA kept AUTHORIZATION regress_topk_keeper;
GRANT USAGE ON SCHEMA kept TO regress_topk_reader;
SET search_path = kept, public;
SET ROLE regress_topk_keeper;
SELECT topk.create_counter('kept');
SELECT partition FROM topk.claim('kept', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{100}');
SELECT topk.flush('kept', 'events', t.deltas(t.hour('2020-01-01 00:00Z', t.entry('open', 3), t.entry('other', 1), t.entry('secret', 9))), NULL, NULL, ARRAY[t.advance(0, 1, 0, 10)]);
SELECT topk.grant_access('regress_topk_reader', 'read', 'kept');
ALTER TABLE kept_hour ENABLE ROW LEVEL SECURITY;
CREATE POLICY no_secrets ON kept_hour USING (video_id <> 'secret' AND current_user = 'regress_topk_reader');

SELECT span, l.* FROM unnest(ARRAY['hour', 'day', '1 hour']) span, LATERAL topk(span, 10, '2020-01-01 00:30Z', 'kept') l ORDER BY span, rank;
SET ROLE regress_topk_reader;
SELECT span, l.* FROM unnest(ARRAY['hour', 'day', '1 hour']) span, LATERAL topk(span, 10, '2020-01-01 00:30Z', 'kept') l ORDER BY span, rank;
SET row_security = off;
SELECT t.error($$SELECT * FROM topk('hour', 10, '2020-01-01Z', 'kept')$$);
RESET row_security;
-- What the books tell of views is not for such a reader either; what they tell of records is. The owner and admins read all of it.
RESET ROLE;
SELECT topk.correct('kept', '2020-01-01Z', 'secret', 1, 'r'), topk.correct('kept', '2020-01-01Z', 'secret', -1, 'r');
SELECT topk.flush('kept', 'events', t.deltas(), ARRAY[ROW('2020-01-01 00:00Z', 'secret', 1, 1)]::topk.flush_late[], NULL, ARRAY[t.advance(0, 1, 10, 11)]);
CREATE VIEW kept.told AS SELECT (SELECT count(*) FROM topk.correction WHERE counter = 'kept') AS corrections, (SELECT count(*) FROM topk.hour_book WHERE counter = 'kept') AS booked,
    (SELECT count(*) FROM topk.late_views WHERE counter = 'kept') AS late, (SELECT count(*) FROM topk.kafka_progress WHERE counter = 'kept') AS partitions;
GRANT SELECT ON kept.told TO PUBLIC;
SELECT * FROM told;
SET ROLE regress_topk_reader;
SELECT * FROM told;
SET row_security = off;
SELECT * FROM told;
RESET row_security;
SET ROLE regress_topk_keeper;
SELECT * FROM told;
SELECT topk.grant_access('regress_topk_reader', 'admin', 'kept');
SET ROLE regress_topk_reader;
SELECT * FROM told;
SET ROLE regress_topk_keeper;
SELECT topk.revoke_access('regress_topk_reader', 'admin', 'kept');
RESET ROLE;
DROP VIEW kept.told;
SELECT * FROM topk('hour', 10, '2020-01-01Z', 'kept');

-- Forced on the owner: the owner's own lists obey; those who may see all are not given less.
ALTER TABLE kept_hour FORCE ROW LEVEL SECURITY;
SELECT * FROM topk('hour', 10, '2020-01-01Z', 'kept');
SELECT t.error($$SELECT * FROM topk('day', 10, '2020-01-01Z', 'kept')$$);
SET ROLE regress_topk_keeper;
SELECT count(*) FROM topk('hour', 10, '2020-01-01Z', 'kept');

-- A policy on another of the tables that are added up counts too, and no policy that lets a row through hides all.
ALTER TABLE kept_hour NO FORCE ROW LEVEL SECURITY;
ALTER TABLE kept_hour DISABLE ROW LEVEL SECURITY;
ALTER TABLE kept_late ENABLE ROW LEVEL SECURITY;
SET ROLE regress_topk_reader;
SELECT * FROM topk('day', 1, '2020-01-01Z', 'kept');
SET ROLE regress_topk_keeper;
ALTER TABLE kept_hour ENABLE ROW LEVEL SECURITY;
DROP POLICY no_secrets ON kept_hour;
SET ROLE regress_topk_reader;
SELECT count(*) FROM topk('hour', 10, '2020-01-01Z', 'kept');
RESET ROLE;
SELECT topk.drop_counter('kept');
DROP SCHEMA kept CASCADE;
DROP ROLE regress_topk_keeper, regress_topk_reader;
