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

-- A part that its provider refuses for good is settled outside by an operator, who says how. What
-- the provider said stays beside it.
ALTER TABLE refund_parts
    ADD COLUMN settled_by    text,
    ADD COLUMN settled_note  text,
    ADD CONSTRAINT refund_part_settled_says_how
        CHECK ((settled_by IS NULL) = (settled_note IS NULL)),
    ADD CONSTRAINT refund_part_settled_is_done CHECK (settled_by IS NULL OR done_at IS NOT NULL),
    DROP CONSTRAINT refund_part_refused_says_why,
    ADD CONSTRAINT refund_part_refused_says_why
        CHECK ((refusal IS NULL) = (refused_at IS NULL AND settled_by IS NULL));

-- Means of payment that a customer has removed, until the provider that kept them has let go of
-- them, too. A row of its own: removing one must not wait for a provider that is away.
CREATE TABLE removed_payment_methods (
    user_id     uuid NOT NULL,
    gateway     varchar(50) NOT NULL,
    token       varchar(255) NOT NULL,
    removed_at  timestamptz NOT NULL DEFAULT now(),
    looked_at   timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (user_id, gateway, token)
);
CREATE INDEX removed_payment_methods_due ON removed_payment_methods (looked_at);

-- Operators' tokens prove themselves, so what ends one before its time has to be written down: all
-- of a name that were issued until then. The shop asks with each of an operator's requests.
CREATE TABLE operator_revocations (
    name        text NOT NULL,
    issued_to   timestamptz NOT NULL,
    revoked_by  text NOT NULL CHECK (revoked_by <> ''),
    reason      text NOT NULL DEFAULT '',
    revoked_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, issued_to)
);
