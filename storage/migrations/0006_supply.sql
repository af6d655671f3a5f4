-- Supply: transfers between warehouses, suppliers, and purchase orders made by themselves.

-- A transfer is two instructions: out of one pair, then into the other. In between the units are
-- on the way; whoever finds the first done and the second missing makes it.
CREATE TABLE stock_transfers (
    transfer_id  uuid PRIMARY KEY,
    from_pair    uuid NOT NULL REFERENCES inventory (inventory_id),
    to_pair      uuid NOT NULL REFERENCES inventory (inventory_id),
    quantity     int NOT NULL CHECK (quantity > 0),
    out_id       uuid NOT NULL UNIQUE REFERENCES stock_instructions (instruction_id),
    in_id        uuid NOT NULL UNIQUE, -- the instruction that will bring it in
    created_at   timestamptz NOT NULL DEFAULT now(),
    CHECK (from_pair <> to_pair)
);

CREATE TABLE suppliers (
    supplier_id  uuid PRIMARY KEY,
    name         text NOT NULL UNIQUE CHECK (name <> ''),
    created_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE reorder_rules (
    inventory_id      uuid PRIMARY KEY REFERENCES inventory (inventory_id),
    supplier_id       uuid NOT NULL REFERENCES suppliers (supplier_id),
    reorder_point     int NOT NULL CHECK (reorder_point >= 0),
    reorder_quantity  int NOT NULL CHECK (reorder_quantity > 0),
    updated_at        timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE purchase_orders (
    purchase_order_id  uuid PRIMARY KEY,
    inventory_id       uuid NOT NULL REFERENCES inventory (inventory_id),
    supplier_id        uuid NOT NULL REFERENCES suppliers (supplier_id),
    quantity           int NOT NULL CHECK (quantity > 0),
    status             text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'received', 'cancelled')),
    received_by        uuid UNIQUE REFERENCES stock_instructions (instruction_id),
    ordered_at         timestamptz NOT NULL DEFAULT now(),
    settled_at         timestamptz,
    CHECK ((status = 'open') = (settled_at IS NULL)),
    CHECK (status <> 'received' OR received_by IS NOT NULL)
);
CREATE UNIQUE INDEX purchase_orders_one_open ON purchase_orders (inventory_id) WHERE status = 'open';

-- Pairs whose owner has to look at their rules again.
CREATE TABLE stock_reloads (
    inventory_id  uuid PRIMARY KEY REFERENCES inventory (inventory_id),
    asked_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
