//! How wide blocks are, side by side in one bar.
//!
//! In: lengths, a width, the least width of a block. Out: widths that add up to the whole.
//!
//! Source: the method of the largest remainder.
//!
//! Not here: what blocks mean (`chart`).

/// The width of each block: `least`, and of what is left a share by its length. They add up to
/// `width`, where there is room for `least` each.
pub(super) fn widths(lens: &[u64], width: usize, least: usize) -> Vec<usize> {
    let Some(left) = least.checked_mul(lens.len()).and_then(|used| width.checked_sub(used)) else {
        return vec![least; lens.len()];
    };
    let total: u128 = lens.iter().map(|&len| u128::from(len)).sum();
    let share = |len: u64| match total {
        0 => (0, 0),
        _ => {
            let scaled = u128::from(len) * left as u128;
            (usize::try_from(scaled / total).unwrap_or(left), scaled % total)
        }
    };
    let mut out: Vec<usize> = lens.iter().map(|&len| least + share(len).0).collect();
    let mut by_rest: Vec<usize> = (0..lens.len()).collect();
    by_rest.sort_by_key(|&i| (std::cmp::Reverse(share(lens[i]).1), i));
    let used: usize = out.iter().sum();
    for &index in by_rest.iter().cycle().take(width.saturating_sub(used)) {
        out[index] += 1;
    }
    out
}

/// Where a place of a range of `len` bytes comes to lie in a block, which has `width` steps.
pub(super) fn step(at: u64, len: u64, width: usize) -> usize {
    let steps = u128::from(at) * width as u128 / u128::from(len.max(1));
    usize::try_from(steps).map_or(width, |steps| steps.min(width))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn widths_add_up_and_none_is_too_small(
            lens in prop::collection::vec(any::<u64>(), 1..60), width in 60usize..200,
        ) {
            let widths = widths(&lens, width, 1);
            prop_assert_eq!(widths.iter().sum::<usize>(), width);
            prop_assert!(widths.iter().all(|&w| w >= 1));
        }

        #[test]
        fn what_is_longer_is_not_drawn_shorter(
            lens in prop::collection::vec(0u64..1 << 40, 2..20), width in 80usize..200,
        ) {
            let widths = widths(&lens, width, 1);
            for (a, b) in lens.iter().zip(&widths).flat_map(|a| lens.iter().zip(&widths).map(move |b| (a, b))) {
                prop_assert!(a.0 <= b.0 || a.1 + 1 >= *b.1);
            }
        }
    }

    #[test]
    fn a_small_block_is_one_step_and_a_large_one_the_rest() {
        assert_eq!(widths(&[512, 1 << 30, 0, 512], 80, 1), [1, 77, 1, 1]);
        assert_eq!(widths(&[0, 0], 5, 1).iter().sum::<usize>(), 5);
        assert_eq!(step(1 << 29, 1 << 30, 80), 40);
    }
}
