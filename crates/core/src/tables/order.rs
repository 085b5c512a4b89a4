//! The order in which tables are moved: first those that others refer to.

use crate::store::InspectedTable;

/// Tables in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Places in the list that was given, first table first.
    pub places: Vec<usize>,
    /// Tables that refer to each other in a circle, each circle by names. A table
    /// that refers to itself is no circle.
    pub circles: Vec<Vec<String>>,
}

/// Orders tables by their foreign keys; otherwise they stay as they are. A
/// circle is opened at its first table.
pub fn in_order(tables: &[&InspectedTable]) -> Order {
    let place_of = |name: &str| tables.iter().position(|table| table.name.eq_ignore_ascii_case(name));
    let needs: Vec<Vec<usize>> = tables
        .iter()
        .enumerate()
        .map(|(own, table)| {
            table.foreign_keys.iter().filter_map(|key| place_of(&key.table)).filter(|other| *other != own).collect()
        })
        .collect();
    let mut order = Order::default();
    while order.places.len() < tables.len() {
        let left: Vec<usize> = (0..tables.len()).filter(|place| !order.places.contains(place)).collect();
        let is_open = |place: &usize| needs[*place].iter().all(|other| order.places.contains(other));
        let next = match left.iter().find(|place| is_open(place)) {
            Some(next) => *next,
            None => {
                let circle = circle(&needs, &left);
                order.circles.push(circle.iter().map(|place| tables[*place].name.clone()).collect());
                circle.first().copied().unwrap_or(left[0])
            }
        };
        order.places.push(next);
    }
    order
}

/// A circle among tables that all need another of them; its lowest place first.
fn circle(needs: &[Vec<usize>], left: &[usize]) -> Vec<usize> {
    let mut walked: Vec<usize> = Vec::new();
    let mut next = left.first().copied();
    while let Some(place) = next {
        if let Some(begin) = walked.iter().position(|seen| *seen == place) {
            let mut circle = walked.split_off(begin);
            let lowest = circle.iter().enumerate().min_by_key(|(_, place)| **place).map_or(0, |(at, _)| at);
            circle.rotate_left(lowest);
            return circle;
        }
        walked.push(place);
        next = needs[place].iter().find(|other| left.contains(other)).copied();
    }
    Vec::new()
}
