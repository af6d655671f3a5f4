-- name: dedicated
SELECT inventory_id, owner_name FROM inventory WHERE owner_name <> ''

-- name: wishes
-- A wish ahead of its time counts already by the lead, so that the owner is warm.
SELECT DISTINCT ON (inventory_id) inventory_id, place
FROM stock_placements
WHERE from_at - make_interval(secs => $1) <= now() AND (until_at IS NULL OR until_at > now())
ORDER BY inventory_id, created_at DESC, placement_id DESC

-- name: add
INSERT INTO stock_placements (placement_id, inventory_id, place, from_at, until_at, actor, reason)
VALUES ($1, $2, $3, coalesce($4, now()), $5, $6, $7)

-- name: end_others
-- What an operator says by hand ends what was said before of the pair, not what is to come.
UPDATE stock_placements SET until_at = now()
WHERE inventory_id = $1 AND placement_id <> $2 AND from_at < now()
  AND (until_at IS NULL OR until_at > now())

-- name: owner_of
SELECT owner_name FROM inventory WHERE inventory_id = $1

-- name: planned
SELECT s.placement_id, s.inventory_id, v.sku, w.code AS warehouse, s.place, s.from_at, s.until_at,
       s.actor, s.reason, i.owner_name
FROM stock_placements s
JOIN inventory i USING (inventory_id)
JOIN product_variants v USING (variant_id) JOIN warehouses w USING (warehouse_id)
WHERE s.until_at IS NULL OR s.until_at > now()
ORDER BY s.from_at, s.placement_id
LIMIT $1
