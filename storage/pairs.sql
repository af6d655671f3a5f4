-- name: find_pair
SELECT i.inventory_id FROM inventory i
JOIN product_variants v USING (variant_id) JOIN warehouses w USING (warehouse_id)
WHERE v.sku = $1 AND w.code = $2
