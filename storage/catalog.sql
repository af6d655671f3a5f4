-- name: set_statement_timeout
SELECT set_config('statement_timeout', $1, true)

-- name: lock_imports
-- One import at a time: two that met at one SKU would each find it free.
SELECT pg_advisory_xact_lock(1146049107)

-- name: add_warehouses
INSERT INTO warehouses (warehouse_id, code, name, country, lat, lon)
SELECT r.warehouse_id, r.code, r.name, r.country, r.lat, r.lon
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::float8[], $6::float8[])
    AS r (warehouse_id, code, name, country, lat, lon)
ORDER BY r.code
ON CONFLICT (code) DO UPDATE
    SET name = excluded.name, country = excluded.country, lat = excluded.lat, lon = excluded.lon
    WHERE (warehouses.name, warehouses.country, warehouses.lat, warehouses.lon)
        IS DISTINCT FROM (excluded.name, excluded.country, excluded.lat, excluded.lon)

-- name: warehouse_ids
SELECT code, warehouse_id FROM warehouses WHERE code = ANY ($1::text[])

-- name: warehouse_sites
SELECT warehouse_id, country, lat, lon FROM warehouses

-- name: handles_of_skus
SELECT v.sku, p.handle
FROM product_variants v JOIN products p USING (product_id)
WHERE v.sku = ANY ($1::text[])

-- name: add_sellers
INSERT INTO sellers (seller_id, name)
SELECT r.seller_id, r.name
FROM unnest($1::uuid[], $2::text[]) AS r (seller_id, name)
WHERE NOT EXISTS (SELECT 1 FROM sellers s WHERE s.name = r.name)
ORDER BY r.name
ON CONFLICT (name) DO NOTHING

-- name: keep_prices_of_other_variants
-- A variant's price is kept as a difference to its product's. Where that moves, variants that
-- this import does not mention keep what they cost.
UPDATE product_variants v
SET price_adjustment_minor = v.price_adjustment_minor + p.price_minor - r.price_minor
FROM unnest($1::text[], $2::bigint[]) AS r (handle, price_minor)
JOIN products p ON p.handle = r.handle
WHERE v.product_id = p.product_id
  AND p.price_minor <> r.price_minor
  AND v.sku <> ALL ($3::text[])

-- name: put_products
INSERT INTO products (product_id, seller_id, handle, name, description, category, tags,
                      price_minor, currency, picture, status)
SELECT r.product_id, s.seller_id, r.handle, r.name, r.description, r.category, r.tags,
       r.price_minor, r.currency, r.picture, r.status
FROM jsonb_to_recordset($1::jsonb) AS r (
    product_id uuid, seller text, handle text, name text, description text, category text,
    tags text[], price_minor bigint, currency text, picture text, status text)
JOIN sellers s ON s.name = r.seller
ORDER BY r.handle
ON CONFLICT (handle) DO UPDATE
    SET seller_id = excluded.seller_id, name = excluded.name,
        description = excluded.description, category = excluded.category, tags = excluded.tags,
        price_minor = excluded.price_minor, currency = excluded.currency,
        picture = excluded.picture, status = excluded.status,
        updated_at = now(), changed_xid = pg_current_xact_id()
    WHERE (products.seller_id, products.name, products.description, products.category,
           products.tags, products.price_minor, products.currency, products.picture,
           products.status)
        IS DISTINCT FROM
          (excluded.seller_id, excluded.name, excluded.description, excluded.category,
           excluded.tags, excluded.price_minor, excluded.currency, excluded.picture,
           excluded.status)

-- name: put_variants
-- The guard on product_id is a belt to the braces: SKUs of other products were left out before.
INSERT INTO product_variants (variant_id, product_id, sku, attributes, price_adjustment_minor,
                              weight_grams, position)
SELECT r.variant_id, p.product_id, r.sku, r.attributes, r.price_minor - p.price_minor,
       r.weight_grams, r.position
FROM jsonb_to_recordset($1::jsonb) AS r (
    variant_id uuid, handle text, sku text, attributes jsonb, price_minor bigint,
    weight_grams int, position int)
JOIN products p ON p.handle = r.handle
ORDER BY r.sku
ON CONFLICT (sku) DO UPDATE
    SET attributes = excluded.attributes,
        price_adjustment_minor = excluded.price_adjustment_minor,
        weight_grams = excluded.weight_grams, position = excluded.position
    WHERE product_variants.product_id = excluded.product_id
      AND (product_variants.attributes, product_variants.price_adjustment_minor,
           product_variants.weight_grams, product_variants.position)
        IS DISTINCT FROM
          (excluded.attributes, excluded.price_adjustment_minor, excluded.weight_grams,
           excluded.position)
RETURNING product_id

-- name: receive_new_pairs
-- A pair that exists keeps its stock: only its owner writes it.
WITH offered AS (
    SELECT r.inventory_id, v.product_id, v.variant_id, r.warehouse_id, r.quantity
    FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::int[])
        AS r (inventory_id, sku, warehouse_id, quantity)
    JOIN product_variants v ON v.sku = r.sku
    WHERE NOT EXISTS (
        SELECT 1 FROM inventory i
        WHERE i.product_id = v.product_id AND i.variant_id = v.variant_id
          AND i.warehouse_id = r.warehouse_id)
), created AS (
    INSERT INTO inventory (inventory_id, product_id, variant_id, warehouse_id, quantity)
    SELECT inventory_id, product_id, variant_id, warehouse_id, quantity
    FROM offered
    ORDER BY inventory_id
    ON CONFLICT (product_id, variant_id, warehouse_id) DO NOTHING
    RETURNING inventory_id, product_id, quantity
), received AS (
    INSERT INTO stock_movements (inventory_id, kind, quantity, reason, actor, balance)
    SELECT inventory_id, 'received', quantity, 'import', 'catalog', quantity
    FROM created
    WHERE quantity > 0
)
SELECT product_id, count(*)::int AS pairs FROM created GROUP BY product_id

-- name: mark_changed
-- Products of which only a variant or a pair changed; those changed themselves are marked already.
UPDATE products
SET updated_at = now(), changed_xid = pg_current_xact_id()
WHERE product_id = ANY ($1::uuid[]) AND changed_xid <> pg_current_xact_id()

-- name: count_changed
SELECT count(*) FROM products
WHERE handle = ANY ($1::text[]) AND changed_xid = pg_current_xact_id()

-- name: count_products
SELECT count(*) FROM products

-- name: by_ids
SELECT p.product_id, p.handle, p.name, p.description, p.category, p.tags, p.seller_id,
       s.name AS seller, p.price_minor, p.currency, p.picture, p.status,
       coalesce((
           SELECT jsonb_agg(
               jsonb_build_array(
                   v.variant_id, v.sku, p.price_minor + v.price_adjustment_minor, v.attributes,
                   coalesce((
                       SELECT jsonb_agg(
                           jsonb_build_array(i.inventory_id, i.warehouse_id) ORDER BY w.code)
                       FROM inventory i JOIN warehouses w USING (warehouse_id)
                       WHERE i.variant_id = v.variant_id), '[]'))
               ORDER BY v.position, v.sku)
           FROM product_variants v
           WHERE v.product_id = p.product_id), '[]') AS variants
FROM products p JOIN sellers s USING (seller_id)
WHERE p.product_id = ANY ($1::uuid[])
ORDER BY p.product_id

-- name: product_ids_of_variants
SELECT DISTINCT product_id FROM product_variants WHERE variant_id = ANY ($1::uuid[])

-- name: changes_horizon
-- Every transaction below this one has ended; what changes from here on has its id or a later one.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text

-- name: changes_end
-- Everything that can be seen now was changed below this transaction.
SELECT pg_snapshot_xmax(pg_current_snapshot())::text

-- name: changed_ids_page
-- Walks the index on changed_xid; ending below $3 it does not run after those who write meanwhile.
SELECT product_id, changed_xid::text
FROM products
WHERE (changed_xid, product_id) > ($1::text::xid8, $2::uuid) AND changed_xid < $3::text::xid8
ORDER BY changed_xid, product_id
LIMIT $4

-- name: availability
SELECT inventory_id, quantity FROM inventory
WHERE inventory_id = ANY ($1::uuid[]) OR product_id = ANY ($2::uuid[])
