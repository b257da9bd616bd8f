#include "serve/list_cache.h"

#include <algorithm>

namespace topkd {

namespace {

std::size_t bytes_of(const std::shared_ptr<const Answer>& answer) {
    return answer ? answer->bytes() : 0;
}

}  // namespace

std::size_t ListCache::entries() const {
    const std::lock_guard lock(mutex_);
    return entries_.size();
}

std::size_t ListCache::bytes() const {
    const std::lock_guard lock(mutex_);
    return bytes_;
}

void ListCache::get(const ListKey& key, int k, AnswerCallback done, std::chrono::milliseconds oldest) {
    const Instant now = clock_.monotonic();
    if (config_.period.count() == 0) {
        if (observer_ != nullptr) {
            observer_->miss();
        }
        begin(std::make_shared<Fetch>(Fetch{key, k, {Waiter{k, now, std::move(done)}}}));
        return;
    }
    std::shared_ptr<Fetch> started;
    {
        std::unique_lock lock(mutex_);
        Entry& entry = touch(key);
        entry.longest_k = std::max(entry.longest_k, k);
        if (entry.answer && now - entry.answer->list().taken <= std::min(oldest, config_.period) && entry.answer->list().has(k)) {
            const std::shared_ptr<const Answer> found = entry.answer;
            lock.unlock();
            if (observer_ != nullptr) {
                observer_->hit();
            }
            done(found);
            return;
        }
        if (entry.fetch && k <= entry.fetch->k) {
            entry.fetch->waiters.push_back({k, now, std::move(done)});
        } else {
            started = plan_fetch(entry, key);
            started->waiters.push_back({k, now, std::move(done)});
        }
        let_go();
    }
    if (observer_ != nullptr) {
        started ? observer_->miss() : observer_->shared();
    }
    if (started) {
        begin(started);
    }
}

ListCache::Entry& ListCache::touch(const ListKey& key) {
    const auto [place, is_new] = entries_.try_emplace(key);
    if (is_new) {
        uses_.push_front(key);
        place->second.use = uses_.begin();
    } else {
        uses_.splice(uses_.begin(), uses_, place->second.use);
    }
    return place->second;
}

/// The next query, which others may join. Requires the mutex.
std::shared_ptr<ListCache::Fetch> ListCache::plan_fetch(Entry& entry, const ListKey& key) {
    entry.fetch = std::make_shared<Fetch>(Fetch{key, std::max(entry.longest_k, entry.longest_k_before), {}});
    entry.longest_k_before = entry.longest_k;
    entry.longest_k = 0;
    return entry.fetch;
}

void ListCache::begin(const std::shared_ptr<Fetch>& fetch) {
    fetcher_.fetch(fetch->key, fetch->k, [this, fetch](ListResult result) { finish(fetch, std::move(result)); });
}

void ListCache::finish(const std::shared_ptr<Fetch>& fetch, ListResult result) {
    const Instant now = clock_.monotonic();
    AnswerResult answer = tl::unexpected(Problem{});
    if (result) {
        answer = std::make_shared<const Answer>(std::move(*result), fetch->key.at.has_value());
    } else {
        answer = tl::unexpected(std::move(result.error()));
    }
    std::vector<Waiter> served;
    std::shared_ptr<Fetch> next;
    {
        const std::lock_guard lock(mutex_);
        served.swap(fetch->waiters);
        const auto place = entries_.find(fetch->key);
        if (place != entries_.end() && place->second.fetch == fetch) {
            place->second.fetch = nullptr;
        }
        if (answer && config_.period.count() > 0) {
            const Instant taken = (*answer)->list().taken;
            const auto late = std::stable_partition(served.begin(), served.end(),
                                                    [&](const Waiter& waiter) { return waiter.asked <= taken || is_fresh(taken, now); });
            if (late != served.end()) {
                Entry& entry = touch(fetch->key);
                for (auto waiter = late; waiter != served.end(); ++waiter) {
                    entry.longest_k = std::max(entry.longest_k, waiter->k);
                }
                // Another query may have begun meanwhile, for a longer list: it began after these asked, or they join it as anybody would.
                const bool joins = entry.fetch && entry.longest_k <= entry.fetch->k;
                const std::shared_ptr<Fetch> following = joins ? entry.fetch : (next = plan_fetch(entry, fetch->key));
                std::move(late, served.end(), std::back_inserter(following->waiters));
                served.erase(late, served.end());
            }
            keep(fetch->key, *answer, now);
            let_go();
        }
    }
    for (const Waiter& waiter : served) {
        waiter.done(answer);
    }
    if (next) {
        begin(next);
    }
}

/// A longer list is worth more than one a little newer, as long as it may be served.
void ListCache::keep(const ListKey& key, const std::shared_ptr<const Answer>& answer, Instant now) {
    if (!is_fresh(answer->list().taken, now)) {
        return;
    }
    Entry& entry = touch(key);
    const bool is_longer = entry.answer && is_fresh(entry.answer->list().taken, now) && entry.answer->list().k > answer->list().k;
    if (!is_longer) {
        bytes_ = bytes_ - bytes_of(entry.answer) + answer->bytes();
        entry.answer = answer;
    }
}

/// Bounds: the least recently used go. A fetch under way goes on without its entry: its waiters are its own.
void ListCache::let_go() {
    while (entries_.size() > config_.max_entries || (bytes_ > config_.max_bytes && entries_.size() > 1)) {
        const auto place = entries_.find(uses_.back());
        bytes_ -= bytes_of(place->second.answer);
        entries_.erase(place);
        uses_.pop_back();
    }
}

}  // namespace topkd
