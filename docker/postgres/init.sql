-- The database topk with the counter video_views and one role for each thing that is done with it. For psql, once, as a superuser,
-- on a server whose pg_cron has cron.database_name = 'topk'. The passwords come by the environment: TOPK_INGEST_PASSWORD, TOPK_READ_PASSWORD.
\set ON_ERROR_STOP on
\getenv ingest_password TOPK_INGEST_PASSWORD
\getenv read_password TOPK_READ_PASSWORD
SET log_min_error_statement = panic;  -- no password in the log, should a statement fail

CREATE ROLE topk_owner NOLOGIN;                              -- owns the counter's tables; nobody logs in as it
CREATE ROLE topk_ingest LOGIN PASSWORD :'ingest_password';   -- topkd ingest: claim, flush and the hours; no table
CREATE ROLE topk_read LOGIN PASSWORD :'read_password';       -- topkd serve, dashboards, people: lists, tables, status
CREATE ROLE topk_maintain LOGIN;                             -- pg_cron's job; without a password nobody else is it

CREATE DATABASE topk TEMPLATE template0 ENCODING 'UTF8';
REVOKE ALL ON DATABASE topk FROM PUBLIC;
GRANT CONNECT ON DATABASE topk TO topk_ingest, topk_read, topk_maintain;
ALTER DATABASE topk SET search_path = views, public;

\connect topk
CREATE EXTENSION topk;
CREATE EXTENSION pg_cron;
CREATE SCHEMA views AUTHORIZATION topk_owner;
GRANT USAGE ON SCHEMA views TO topk_read;

SET ROLE topk_owner;
SET search_path = views, public;
SELECT topk.create_counter('video_views');
SELECT topk.grant_access('topk_ingest', 'ingest', 'video_views');
SELECT topk.grant_access('topk_read', 'read', 'video_views');
SELECT topk.grant_access('topk_maintain', 'admin', 'video_views');
RESET ROLE;

GRANT USAGE ON SCHEMA cron TO topk_maintain;
SET ROLE topk_maintain;
SELECT topk.schedule('video_views');
RESET ROLE;

-- pg_cron keeps a row of every run and deletes none
SELECT cron.schedule('runs of a day ago', '0 4 * * *', $$DELETE FROM cron.job_run_details WHERE end_time < now() - interval '1 day'$$);
