\echo Use "ALTER EXTENSION topk UPDATE TO '1.2'" to load this file. \quit

-- What version 1.2 adds. This script is never edited once released.
