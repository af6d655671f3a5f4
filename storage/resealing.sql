-- name: in_the_clear
-- By the index orders_in_the_clear, which is empty once all is sealed.
SELECT order_id, sealed_personal, shipping_address, billing_address FROM orders
WHERE (shipping_address IS NOT NULL OR billing_address IS NOT NULL)
  AND order_id > $1
ORDER BY order_id LIMIT $2

-- name: not_sealed_by
SELECT order_id, sealed_personal, shipping_address, billing_address FROM orders
WHERE (shipping_address IS NOT NULL OR billing_address IS NOT NULL
       OR substring(sealed_personal FROM 3 FOR get_byte(sealed_personal, 1)) IS DISTINCT FROM $3)
  AND order_id > $1
ORDER BY order_id LIMIT $2

-- name: put
-- Only what is still as it was read, and only rows that nobody works on this moment: the next
-- pass comes by. So this waits for no lock and no checkout waits long for it.
WITH fresh AS (
    SELECT * FROM unnest($1::uuid[], $2::bytea[], $3::bytea[], $4::text[])
        AS f (order_id, before, sealed, country)
), free AS (
    SELECT o.order_id FROM orders o JOIN fresh USING (order_id)
    WHERE o.sealed_personal IS NOT DISTINCT FROM fresh.before
    ORDER BY o.order_id FOR NO KEY UPDATE OF o SKIP LOCKED
)
UPDATE orders o SET sealed_personal = fresh.sealed,
       ship_country = coalesce(o.ship_country, fresh.country),
       shipping_address = NULL, billing_address = NULL
FROM fresh JOIN free USING (order_id)
WHERE o.order_id = fresh.order_id
RETURNING o.order_id

-- name: by_key
SELECT convert_from(substring(sealed_personal FROM 3 FOR get_byte(sealed_personal, 1)), 'SQL_ASCII')
           AS key_id,
       count(*) AS orders
FROM orders WHERE sealed_personal IS NOT NULL GROUP BY 1 ORDER BY 1

-- name: count_in_the_clear
SELECT count(*) FROM orders WHERE shipping_address IS NOT NULL OR billing_address IS NOT NULL

-- name: newest
SELECT sealed_personal FROM orders WHERE sealed_personal IS NOT NULL ORDER BY order_id DESC LIMIT 1
