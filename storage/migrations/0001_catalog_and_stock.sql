-- The catalog and the stock. Names follow the platform's case study where they mean the same;
-- money is kept in integer minor units (cents), times with their zone.

CREATE TABLE sellers (
    seller_id   uuid PRIMARY KEY,
    name        text NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 200),
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE products (
    product_id   uuid PRIMARY KEY,
    seller_id    uuid NOT NULL REFERENCES sellers (seller_id),
    handle       text NOT NULL UNIQUE CHECK (length(handle) BETWEEN 1 AND 255),
    name         varchar(500) NOT NULL CHECK (name <> ''),
    description  text NOT NULL DEFAULT '',
    category     text NOT NULL DEFAULT '',
    tags         text[] NOT NULL DEFAULT '{}',
    price_minor  bigint NOT NULL CHECK (price_minor >= 0),
    currency     char(3) NOT NULL DEFAULT 'USD' CHECK (currency ~ '^[A-Z]{3}$'),
    picture      text,
    status       varchar(20) NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'draft', 'archived')),
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    -- Who reads along (search, price caches) asks for rows changed since the oldest
    -- transaction that was still running at its last look; nothing can slip in between.
    changed_xid  xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX products_seller ON products (seller_id);
CREATE INDEX products_changed ON products (changed_xid);

CREATE TABLE product_variants (
    variant_id              uuid PRIMARY KEY,
    product_id              uuid NOT NULL REFERENCES products (product_id),
    sku                     varchar(100) NOT NULL UNIQUE CHECK (sku <> ''),
    attributes              jsonb NOT NULL DEFAULT '{}',
    price_adjustment_minor  bigint NOT NULL DEFAULT 0,
    weight_grams            int NOT NULL DEFAULT 0 CHECK (weight_grams >= 0),
    position                int NOT NULL DEFAULT 0
);
CREATE INDEX product_variants_product ON product_variants (product_id);

CREATE TABLE warehouses (
    warehouse_id  uuid PRIMARY KEY,
    code          text NOT NULL UNIQUE,
    name          text NOT NULL,
    country       char(2) NOT NULL,
    lat           double precision NOT NULL CHECK (lat BETWEEN -90 AND 90),
    lon           double precision NOT NULL CHECK (lon BETWEEN -180 AND 180)
);

-- One row is one pair: a SKU in a warehouse, written only by the pair's owner.
-- quantity is what can be reserved now; reserved is what is held for checkouts or
-- allocated to confirmed orders; on hand is the sum of both.
CREATE TABLE inventory (
    inventory_id  uuid PRIMARY KEY,
    product_id    uuid NOT NULL REFERENCES products (product_id),
    variant_id    uuid NOT NULL REFERENCES product_variants (variant_id),
    warehouse_id  uuid NOT NULL REFERENCES warehouses (warehouse_id),
    quantity      int NOT NULL CONSTRAINT inventory_never_oversold CHECK (quantity >= 0),
    reserved      int NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    version       bigint NOT NULL DEFAULT 0,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (product_id, variant_id, warehouse_id)
) WITH (fillfactor = 50);
CREATE INDEX inventory_variant ON inventory (variant_id);

CREATE TYPE reservation_status AS ENUM ('active', 'allocated', 'released', 'expired', 'shipped', 'cancelled');

-- No foreign key to inventory: its check per row would cost as much as the row. stock_turn
-- refuses a turn whose pairs it cannot move, and the audit looks for strays (P2).
CREATE TABLE inventory_reservations (
    reservation_id  uuid PRIMARY KEY,
    order_id        uuid NOT NULL,
    inventory_id    uuid NOT NULL,
    quantity        int NOT NULL CHECK (quantity > 0),
    expires_at      timestamptz NOT NULL,
    status          reservation_status NOT NULL DEFAULT 'active',
    created_at      timestamptz NOT NULL DEFAULT now()
);
-- Partial both: an allocated reservation leaves them, and confirming an order writes to neither.
CREATE INDEX inventory_reservations_order ON inventory_reservations (order_id)
    WHERE status = 'active';
CREATE INDEX inventory_reservations_open ON inventory_reservations (inventory_id, expires_at)
    WHERE status = 'active';

-- Movements of physical stock, append-only. Reservations are their own ledger.
CREATE TABLE stock_movements (
    movement_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    inventory_id   uuid NOT NULL REFERENCES inventory (inventory_id),
    kind           text NOT NULL CHECK (kind IN ('received', 'adjusted', 'shipped', 'returned')),
    quantity       int NOT NULL CHECK (quantity <> 0),
    reason         text NOT NULL DEFAULT '',
    actor          text NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    CHECK (kind NOT IN ('received', 'returned') OR quantity > 0),
    CHECK (kind <> 'shipped' OR quantity < 0)
);
CREATE INDEX stock_movements_pair ON stock_movements (inventory_id);

-- The generations of each owner. A turn is written only while its epoch is the newest (P5).
CREATE TABLE stock_owners (
    owner_name  text PRIMARY KEY,
    epoch       bigint NOT NULL CHECK (epoch > 0),
    node        text NOT NULL DEFAULT '',
    pid         int NOT NULL DEFAULT 0,
    started_at  timestamptz NOT NULL DEFAULT now()
);
-- What each generation wrote. The row is the fence: every turn updates it, and a successor
-- retires it, so the two can never both write (and the audit can tell, P5).
CREATE TABLE stock_turns (
    owner_name  text NOT NULL REFERENCES stock_owners (owner_name),
    epoch       bigint NOT NULL,
    turns       bigint NOT NULL DEFAULT 0,
    first_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    retired     boolean NOT NULL DEFAULT false,
    PRIMARY KEY (owner_name, epoch)
) WITH (fillfactor = 50);
