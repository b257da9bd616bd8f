-- The jobs of pg_cron: what is refused before it is asked. With pg_cron, and without it: tests/citizen/test_schedule.py.
SET timezone = 'UTC'; SET client_min_messages = warning;
CREATE ROLE regress_topk_cron LOGIN;
SELECT topk.create_counter();
SELECT t.error($$SELECT topk.schedule(NULL)$$), t.error($$SELECT topk.schedule('nothing')$$), t.error($$SELECT topk.unschedule(NULL)$$), t.error($$SELECT topk.unschedule('nothing')$$);
SELECT every, t.error(format('SELECT topk.schedule(every => %L)', every)) FROM unnest(ARRAY['0', '-1 min', '1.5 s', '61 s', '90 s', '7 min', '61 min', '2 hours', '1 day', '1 month']) every;
-- Without pg_cron in the database, whatever the interval
SELECT every, left(t.error(format('SELECT topk.schedule(every => %L)', every)), 46) FROM unnest(ARRAY['1 min', '2 min', '30 min', '1 hour', NULL]) every;
SELECT left(t.error($$SELECT topk.unschedule()$$), 46);
SET ROLE regress_topk_cron;
SELECT t.error($$SELECT topk.schedule()$$), t.error($$SELECT topk.unschedule()$$), t.error($$SELECT topk.require_admin('video_views')$$);
RESET ROLE;
SELECT topk.grant_access('regress_topk_cron', 'admin');
SET ROLE regress_topk_cron;
SELECT topk.require_admin('video_views'), right(t.error($$SELECT topk.schedule(every => '1 min')$$), 34);
SELECT left(t.error($$SELECT topk.schedule(every => '1 min')$$), 46);
RESET ROLE;
-- pg_cron connects as who asked: a role that cannot log in is told, and not that a superuser should make the job his own.
ALTER ROLE regress_topk_cron NOLOGIN;
SET ROLE regress_topk_cron;
SELECT t.error($$SELECT topk.schedule(every => '1 min')$$);
RESET ROLE;
-- The name of the job: of database and counter, at most 63 bytes, whatever these are
SELECT topk.job_name(), topk.job_name('a "b"'), topk.job_name(NULL);
SELECT octet_length(topk.job_name(repeat('é', 20))) <= 63, topk.job_name(repeat('"', 40)) ~ '^topk\.maintain [0-9a-f]{32}$', topk.job_name(repeat('"', 40)) <> topk.job_name(repeat('"', 39));
SELECT topk.unschedule_statement('o''ne \');
SELECT topk.drop_counter('video_views');
DROP ROLE regress_topk_cron;
