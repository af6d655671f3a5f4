-- Why an order was scored as it was, and what an operator decided about it.

ALTER TABLE orders
    -- {"reasons": [{"name", "points", "sentence"}], "model_version"}
    ADD COLUMN fraud_reasons    jsonb,
    ADD COLUMN review_decision  text CHECK (review_decision IN ('approve', 'decline')),
    ADD CONSTRAINT order_reviewed_says_what_was_decided CHECK
        ((reviewed_at IS NOT NULL) = (review_decision IS NOT NULL));

CREATE INDEX orders_in_review ON orders (order_id) WHERE status = 'in_review';
CREATE INDEX orders_reviewed ON orders (reviewed_at, order_id) WHERE reviewed_at IS NOT NULL;
