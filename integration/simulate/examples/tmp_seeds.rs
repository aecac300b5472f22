fn main() {
    let mut a = std::env::args().skip(1).map(|x| x.parse::<u64>().unwrap());
    for seed in a.next().unwrap()..=a.next().unwrap() {
        println!("{}", simulate::simulate(seed).unwrap());
    }
}
