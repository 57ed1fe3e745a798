-- By whom and from whom, and from whom alone, in the order of a page: at ten million entries three usual criteria together had
-- to be put together from three bitmaps of half a million rows each.
CREATE INDEX entry_consumer_provider ON audit.entry (consumer, provider, serial) WHERE provider IS NOT NULL;
CREATE INDEX entry_provider ON audit.entry (provider, serial) WHERE provider IS NOT NULL;
