-- What access method topk refuses, and why.
SET client_min_messages = warning;
CREATE SCHEMA refused;
SET search_path = refused;
CREATE TABLE score (g int, views bigint, id int, words tsvector, doc json);

SELECT t.error(statement) FROM unnest(ARRAY[
    -- expressions, predicates, payload
    'CREATE INDEX ON score USING topk (abs(g), views DESC)',
    'CREATE INDEX ON score USING topk (g, (views + 1) DESC)',
    'CREATE INDEX ON score USING topk (g, views DESC) WHERE views > 0',
    'CREATE INDEX ON score USING topk (g, views DESC) INCLUDE (id)',
    -- uniqueness and constraints
    'CREATE UNIQUE INDEX ON score USING topk (g, views DESC)',
    'ALTER TABLE score ADD EXCLUDE USING topk (g WITH =, views WITH =)',
    -- no score
    'CREATE INDEX ON score USING topk (g)',
    'CREATE INDEX ON score USING topk (g, views)',
    -- options
    'CREATE INDEX ON score USING topk (g, views DESC) WITH (k = 0)',
    'CREATE INDEX ON score USING topk (g, views DESC) WITH (k = -1)',
    'CREATE INDEX ON score USING topk (g, views DESC) WITH (k = 10001)',
    'CREATE INDEX ON score USING topk (g, views DESC) WITH (k = many)',
    'CREATE INDEX ON score USING topk (g, views DESC) WITH (fillfactor = 50)',
    -- types
    'CREATE INDEX ON score USING topk (words, views DESC)',
    'CREATE INDEX ON score USING topk (g, doc DESC)']) statement;

-- One that was refused while it was built concurrently is left, invalid.
\set VERBOSITY sqlstate
CREATE INDEX CONCURRENTLY score_less ON score USING topk (g, views);
\set VERBOSITY default
SELECT t.error('SELECT topk.index_check(''score_less'')');
DROP INDEX score_less;

-- The bounds of k are allowed, and so is any number of columns behind the score, in either direction.
SELECT t.error(statement) FROM unnest(ARRAY[
    'CREATE INDEX ON score USING topk (g, views DESC) WITH (k = 1)',
    'CREATE INDEX ON score USING topk (g, views DESC) WITH (k = 10000)',
    'CREATE INDEX ON score USING topk (views DESC)',
    'CREATE INDEX ON score USING topk (words DESC, id)',
    'CREATE INDEX ON score USING topk (g NULLS FIRST, views DESC NULLS LAST)',
    'CREATE INDEX ON score USING topk (g, id, views DESC)',
    'CREATE INDEX score_idx ON score USING topk (g, views DESC, id DESC, words)']) statement;

-- Commands that need what the index has not.
SELECT t.error('CLUSTER score USING score_idx');
SELECT t.error('ALTER TABLE score REPLICA IDENTITY USING INDEX score_idx');
SELECT t.error('ALTER TABLE score ADD PRIMARY KEY USING INDEX score_idx');
SELECT t.error('ALTER INDEX score_idx SET (k = 0)');

-- The functions take topk indexes, and need rights on their tables.
CREATE INDEX score_btree ON score (g, views);
CREATE TABLE parted (g int, views bigint) PARTITION BY LIST (g);
CREATE INDEX parted_idx ON parted USING topk (g, views DESC);
SELECT f.name, t.error(format('SELECT * FROM topk.%s(''%s'')', f.name, i.index)) FROM unnest('{index_check,index_refill,index_stats,index_groups}'::text[]) f (name),
    unnest('{score_btree,score,parted_idx,0}'::text[]) i (index);
CREATE ROLE regress_topk_stranger;
GRANT USAGE ON SCHEMA refused TO regress_topk_stranger;
SET ROLE regress_topk_stranger;
SELECT f.name, t.error(format('SELECT * FROM topk.%s(''score_idx'')', f.name)) FROM unnest('{index_check,index_refill,index_stats,index_groups}'::text[]) f (name);
RESET ROLE;
SELECT f.name, t.error(format('SELECT * FROM topk.%s(NULL)', f.name)) FROM unnest('{index_check,index_refill,index_stats,index_groups}'::text[]) f (name);

RESET search_path;
DROP SCHEMA refused CASCADE;
DROP ROLE regress_topk_stranger;
