-- Webhooks that were handled long ago are forgotten, the oldest first.
CREATE INDEX payment_events_handled ON payment_events (handled_at) WHERE handled_at IS NOT NULL;
