-- What a refund gives back besides lines, when it was last worked on, and what a provider refused.

-- looked_at spreads the work over all open refunds: one that cannot be made now waits behind the
-- others.
ALTER TABLE refunds
    ADD COLUMN shipping_minor bigint NOT NULL DEFAULT 0,
    ADD COLUMN looked_at      timestamptz NOT NULL DEFAULT now(),
    ADD CONSTRAINT refund_is_no_less_than_its_shipping
        CHECK (shipping_minor BETWEEN 0 AND amount_minor);
CREATE UNIQUE INDEX shipping_is_refunded_once ON refunds (order_id) WHERE shipping_minor > 0;
DROP INDEX refunds_open;
CREATE INDEX refunds_open ON refunds (looked_at) WHERE done_at IS NULL;

ALTER TABLE refund_parts
    ADD COLUMN refused_at timestamptz,
    ADD COLUMN refusal    text,
    ADD CONSTRAINT refund_part_refused_says_why CHECK ((refused_at IS NULL) = (refusal IS NULL)),
    ADD CONSTRAINT refund_part_is_done_or_refused CHECK (done_at IS NULL OR refused_at IS NULL);
