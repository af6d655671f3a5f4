-- What happens after a sale: goods that come back with a refund, parts of refunds that are settled
-- outside, means of payment that a provider has yet to forget, operators' tokens that hold no more.

-- Which movement of stock belongs to which line of a refund. Written with the refund itself, so
-- there is never one without the other.
CREATE TABLE refund_returns (
    instruction_id  uuid PRIMARY KEY REFERENCES stock_instructions (instruction_id),
    refund_id       uuid NOT NULL,
    line            smallint NOT NULL,
    inventory_id    uuid NOT NULL REFERENCES inventory (inventory_id),
    quantity        int NOT NULL CHECK (quantity > 0),
    FOREIGN KEY (refund_id, line) REFERENCES refund_lines (refund_id, line),
    CONSTRAINT one_return_per_line_and_pair UNIQUE (refund_id, line, inventory_id)
);
